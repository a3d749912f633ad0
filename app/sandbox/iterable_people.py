"""The users of an Iterable project, and which identifier finds whom (Iterable, Project types)."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from app.settings import ProjectType

KEEP = 200_000
MAX_USER_ID = 52

CLASSIC, EMAIL, USERID = ProjectType.CLASSIC, ProjectType.EMAIL, ProjectType.USERID
HYBRID = ProjectType.HYBRID

_ADDRESS = re.compile(r"[^\s@,;<>()\[\]\"\\]{1,64}@(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}")
# Printable ASCII without a blank at the end.
_USER_ID = re.compile(r"[ -~]*[!-~]")


class Refused(Exception):
    """What Iterable does not do: its status, code and params; `listed` is the list of a bulk answer
    and the value in it that names the entry."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 400,
        params: Any = None,
        listed: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.params = params
        self.listed = listed


class Identity(NamedTuple):
    """The identifiers in a request. Iterable keeps addresses in lower case."""

    email: str | None
    user_id: str | None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Identity":
        """From `email` and `userId`; null counts as absent."""
        email, user_id = entry.get("email"), entry.get("userId")
        return cls(
            None if email is None else str(email).lower(), None if user_id is None else str(user_id)
        )

    def listed(self, reason: str) -> tuple[str, str]:
        """Where a bulk answer names an entry of this identity, and how."""
        if self.email is not None:
            return f"{reason}Emails", self.email
        return f"{reason}UserIds", self.user_id or ""


@dataclass(slots=True, eq=False)
class Profile:
    """One user."""

    email: str | None = None
    user_id: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    browser_tokens: list[str] = field(default_factory=list)
    cart: list[dict[str, Any]] | None = None

    def shown(self) -> dict[str, Any]:
        """As `users/getByEmail` shows it."""
        data = dict(self.data)
        if self.devices:
            data["devices"] = list(self.devices.values())
        if self.browser_tokens:
            data["browserTokens"] = self.browser_tokens
        if self.cart is not None:
            data["shoppingCartItems"] = self.cart
        return {"email": self.email, "userId": self.user_id, "dataFields": data}


class People:
    """All users of a project, found by the rules of its type; `classic` lets everything pass."""

    def __init__(self) -> None:
        self.type = CLASSIC
        self._all: OrderedDict[int, Profile] = OrderedDict()
        self._by_email: dict[str, Profile] = {}
        self._by_user_id: dict[str, Profile] = {}
        self._forgotten: set[str] = set()
        self._placeholders = 0

    def __len__(self) -> int:
        return len(self._all)

    def newest(self, limit: int) -> list[Profile]:
        """The last `limit` users, oldest first."""
        return list(islice(reversed(self._all.values()), limit))[::-1]

    def carts(self, limit: int) -> list[Profile]:
        """Up to `limit` users who have something in their cart."""
        return list(islice((one for one in reversed(self._all.values()) if one.cart), limit))

    def check(self, who: Identity) -> None:
        """Raise Refused for malformed or forgotten identifiers."""
        email, user_id = who
        if email is not None and not _ADDRESS.fullmatch(email):
            message = f"Invalid email: {email}"
            raise Refused("InvalidEmailAddressError", message, listed=("invalidEmails", email))
        if user_id is not None and not (
            len(user_id) <= MAX_USER_ID and _USER_ID.fullmatch(user_id)
        ):
            message = f"Invalid userId: {user_id}"
            raise Refused("InvalidUserIdError", message, listed=("invalidUserIds", user_id))
        for name, value in (("forgottenEmails", email), ("forgottenUserIds", user_id)):
            if value in self._forgotten:
                message = "The user is on the list of forgotten users"
                raise Refused("ForgottenUserError", message, listed=(name, value or ""))

    def require(self, who: Identity) -> None:
        """Raise Refused unless a usable identifier is there for a project of this type."""
        if who.user_id is None and (who.email is None or self.type is USERID):
            wanted = "userId" if self.type is USERID else "email or userId"
            raise Refused("BadParams", f"Invalid request: {wanted} is required")
        self.check(who)

    def find(self, who: Identity) -> Profile | None:
        """The user meant, if known; raises Refused if the identifiers are of two users."""
        by_email = self._by_email.get(who.email or "")
        by_user_id = self._by_user_id.get(who.user_id or "")
        if self.type is USERID:
            return by_user_id
        if self.type is HYBRID:
            if by_email and by_user_id and by_email is not by_user_id:
                raise conflict(("conflictEmails", who.email or ""))
            return by_user_id or by_email
        if self.type is EMAIL or by_email or who.email is None:
            return by_email if who.email is not None else by_user_id
        # Classic: a user known by userId alone now gets an address.
        return by_user_id if by_user_id and by_user_id.email is None else None

    def open(self, who: Identity, prefer_user_id: bool) -> Profile:
        """The user meant, or a new one, which becomes known by `settle`.

        Raises Refused when an email-based project does not know the userId.
        """
        profile = self.find(who)
        if profile is not None:
            return profile
        if self.type is not EMAIL or who.email is not None:
            return Profile()
        if not prefer_user_id:
            raise unknown(who)
        self._placeholders += 1
        return Profile(f"{who.user_id}+{self._placeholders}@placeholder.email".lower())

    def settle(self, profile: Profile, who: Identity, new: Identity) -> None:
        """Give `profile` its identifiers: those of the request, and `new` ones from its dataFields.

        Raises Refused, and changes nothing, if somebody else has one that must be unique.
        """
        user_id = new.user_id or who.user_id or profile.user_id
        if self.type in (USERID, HYBRID):
            email = new.email or who.email or profile.email
            self._refuse_taken(profile, email, user_id)
        else:
            # In an email-based project the address changes by users/updateEmail only.
            email = profile.email or who.email
            if self.type is CLASSIC:
                email = email or new.email
        self.rename(profile, email, user_id)

    def rename(self, profile: Profile, email: str | None, user_id: str | None) -> None:
        """Make `profile` known under these identifiers and no others."""
        if (email, user_id) == (profile.email, profile.user_id) and id(profile) in self._all:
            return
        self._unlink(profile)
        profile.email, profile.user_id = email, user_id
        self._all[id(profile)] = profile
        if email is not None:
            self._by_email[email] = profile
        if user_id is not None:
            self._by_user_id[user_id] = profile
        if len(self._all) > KEEP:
            self.remove(next(iter(self._all.values())))

    def remove(self, profile: Profile) -> None:
        """Delete a user."""
        self._unlink(profile)
        self._all.pop(id(profile), None)

    def forget(self, who: Identity) -> None:
        """Delete the user and refuse the identifiers from now on (Iterable, GDPR requests)."""
        profile = self.find(who)
        if profile is not None:
            self.remove(profile)
            who = Identity(who.email or profile.email, who.user_id or profile.user_id)
        self._forgotten.update(value for value in who if value)

    def has_forgotten(self, who: Identity) -> bool:
        """Whether one of the identifiers is on the list of forgotten users."""
        return any(value in self._forgotten for value in who)

    def _refuse_taken(self, profile: Profile, email: str | None, user_id: str | None) -> None:
        if self._by_user_id.get(user_id or "", profile) is not profile:
            raise conflict(("conflictUserIds", user_id or ""))
        if self.type is HYBRID and self._by_email.get(email or "", profile) is not profile:
            raise conflict(("conflictEmails", email or ""))

    def _unlink(self, profile: Profile) -> None:
        # Where an identifier is not unique, it leads to whoever had it last.
        if self._by_email.get(profile.email or "") is profile:
            del self._by_email[profile.email or ""]
        if self._by_user_id.get(profile.user_id or "") is profile:
            del self._by_user_id[profile.user_id or ""]


def conflict(listed: tuple[str, str]) -> Refused:
    """The identifiers belong to two users."""
    return Refused("ExternalKeyConflict", "Email/userId conflict", status=409, listed=listed)


def unknown(who: Identity) -> Refused:
    """Nobody has this identifier, and the request does not create users."""
    code = "UnknownEmailError" if who.email is not None else "UnknownUserIdError"
    return Refused(code, "The user does not exist", listed=who.listed("notFound"))
