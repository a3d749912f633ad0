"""Who a call is about, which identifiers Iterable gets, and the ids that make a repeat harmless."""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5

import orjson

from app.errors import BadInput
from app.outbound.lookup import Names
from app.outbound.nesting import too_deep
from app.outbound.switches import member
from app.settings import ProjectType

_EMAIL_KEY = Names("email")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
# Iterable, custom events article: letters, digits and hyphens, at most 512 bytes.
_ITERABLE_ID = re.compile(r"[A-Za-z0-9-]{1,512}")
_CALLS = UUID("7d1f3f1e-4b0c-5d6a-9a54-2f0c8f0f5b11")
# What differs between two sendings of one call, or is a secret.
_OF_THE_SENDING = frozenset({"receivedAt", "sentAt", "writeKey"})
# Iterable writes such addresses into profiles without one, and never mails them.
_PLACEHOLDER = "@placeholder.email"

Person = tuple[str | None, str | None]
"""email and userId of a call; at least one of them is there."""


def is_email(text: object) -> bool:
    """Whether `text` has the form of an email address."""
    return isinstance(text, str) and _EMAIL.fullmatch(text) is not None


def text_or_none(value: object) -> str | None:
    """A string with something in it; nulls, blanks and anything else count as absent."""
    return value if isinstance(value, str) and value and not value.isspace() else None


def identifiers(call: Mapping[str, Any]) -> Person:
    """email and userId of a validated call, None where there is none. Never the anonymousId.

    An identify's own traits speak first. Of other calls `context.traits` does: an address among the
    properties may be somebody else's (the order of Segment's classic integration). A userId that is
    an email address is one.
    """
    user_id = text_or_none(call.get("userId"))
    context = member(call, "context")
    places = (
        (member(call, "traits"), member(context, "traits"))
        if call["type"] == "identify"
        else (member(context, "traits"), member(call, "properties"))
    )
    for place in places:
        if place and _EMAIL_KEY.keys(place):
            email = text_or_none(place.get("email") or _EMAIL_KEY.values(place).get("email"))
            if email:
                return email, user_id
    return (user_id if user_id and "@" in user_id and is_email(user_id) else None), user_id


def person(call: Mapping[str, Any]) -> str:
    """The key of the call's records in the log: the userId, else the lower-cased email, else ""."""
    email, user_id = identifiers(call)
    return user_id or (email or "").lower()


def message_id(call: Mapping[str, Any]) -> str:
    """The call's `messageId`, else a UUIDv5 of all that a repeat has in common with it.

    `timestamp` is no part of it where `originalTimestamp` is given: it is then corrected for the
    sender's clock, at each sending anew.
    Raises BadInput `nested_too_deep`.
    """
    given = text_or_none(call.get("messageId"))
    if given:
        return given
    left_out = _OF_THE_SENDING | ({"timestamp"} if call.get("originalTimestamp") else set())
    kept = {name: value for name, value in call.items() if name not in left_out}
    try:
        canonical = orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        raise too_deep() from None
    return str(uuid5(_CALLS, canonical.decode()))


def iterable_id(text: str) -> str:
    """`text` where Iterable takes it as an id, else a stable hash of it."""
    return text if _ITERABLE_ID.fullmatch(text) else sha256(text.encode()).hexdigest()


class Identity:
    """Which identifiers go where, by the project's type.

    Iterable, Identifying Users articles: classic sends both as given. For the others, identify by
    the project's own key only; the other identifier goes into a profile's fields when it is to be
    set, for a wrong pairing is a conflict or overwrites somebody's userId.
    """

    def __init__(self, project: ProjectType) -> None:
        self._project = project

    def keys(self, who: Person) -> dict[str, Any]:
        """`email` and `userId` of a request. Raises BadInput `no_identity`."""
        email, user_id = who
        if self._project is ProjectType.USERID and not user_id:
            raise _no_identity("this Iterable project needs a userId", "userId")
        if not email and not user_id:
            raise _no_identity("a userId or an email is required", "userId", "email")
        if self._project is ProjectType.CLASSIC and email and user_id:
            return {"email": email, "userId": user_id}
        if self._by_email(email, user_id):
            return {"email": email}
        return {"userId": user_id}

    def user(self, who: Person) -> dict[str, Any]:
        """The same for a request that may create the user.

        An email-based project creates one for an unknown userId, with a placeholder address, only
        when told to. Raises BadInput `no_identity`.
        """
        keys = self.keys(who)
        if self._project is ProjectType.EMAIL and "userId" in keys:
            keys["preferUserId"] = True
        return keys

    def profile(self, who: Person, fields: dict[str, Any]) -> None:
        """Put into a profile's `fields` the identifier to be set, and take out the one it has.

        In `fields` an identifier changes the person's (Iterable, User Profile Fields article).
        """
        if self._project is ProjectType.CLASSIC:
            for name in ("email", "userId"):
                if name in fields and not text_or_none(fields[name]):
                    del fields[name]
            return
        email, user_id = who
        fields.pop("email", None)
        fields.pop("userId", None)
        if self._by_email(email, user_id):
            if user_id and self._project is ProjectType.EMAIL:
                fields["userId"] = user_id
        elif email and not self._is_placeholder(email):
            fields["email"] = email

    def one(self, who: Person) -> dict[str, str]:
        """The single identifier by which a user is deleted or forgotten, the project's own first.

        Raises BadInput `no_identity`.
        """
        keys = self.keys(who)
        return {"email": keys["email"]} if "email" in keys else {"userId": keys["userId"]}

    @property
    def changes_email_by_profile(self) -> bool:
        """Whether a new address is a field of the profile; elsewhere users/updateEmail sets it."""
        return self._project in (ProjectType.USERID, ProjectType.HYBRID)

    def _by_email(self, email: str | None, user_id: str | None) -> bool:
        """Whether the email identifies; a placeholder only does where nothing else can."""
        if not email:
            return False
        if not user_id:
            return True
        if self._project is not ProjectType.EMAIL:
            return False
        return not self._is_placeholder(email)

    @staticmethod
    def _is_placeholder(email: str) -> bool:
        return email.lower().endswith(_PLACEHOLDER)


def _no_identity(message: str, *names: str) -> BadInput:
    return BadInput("no_identity", message, {name: [message] for name in names})
