"""identify → Iterable: the profile, a change of address, and the tokens of devices and browsers."""

from collections.abc import Mapping
from typing import Any

from app.outbound.dates import DateSpeller, happened_at, spell
from app.outbound.identity import Identity, Person, identifiers, text_or_none
from app.outbound.lookup import Names, folded
from app.outbound.nesting import check_depth
from app.outbound.request import MOBILE, WEB, IterableRequest, post
from app.outbound.switches import member, options
from app.settings import Settings

# What Segment's classic integration copies from the context into the profile.
_CONTEXT_FIELDS = {
    "app": "app",
    "device": "device",
    "ip": "ip",
    "locale": "locale",
    "location": "location",
    "page": "page",
    "userAgent": "userAgent",
    "timezone": "timeZone",
}
_FLAGS = {folded(name): name for name in ("mergeNestedObjects", "preferUserId", "createNewFields")}
_NEW_EMAIL = folded("newEmail")
_PLATFORMS = {
    "ios": "APNS",
    "ipados": "APNS",
    "iphone": "APNS",
    "ipad": "APNS",
    "android": "GCM",  # Iterable's name for Firebase too
}


class ProfileMapper:
    """Maps identify calls."""

    def __init__(self, settings: Settings, identity: Identity, dates: DateSpeller) -> None:
        self._identity = identity
        self._dates = dates
        self._settings = settings
        self._registers_tokens = bool(
            settings.iterable_mobile_api_key or settings.iterable_web_api_key
        )
        renamed, dropped = settings.outbound.rename_traits, settings.outbound.drop_traits
        self._names = Names("created", "createdAt", "id", "phone", *renamed, *dropped)
        # The field that a trait becomes instead of its own; None for none at all.
        self._targets: dict[str | None, str | None] = {"id": None, "phone": "phoneNumber"}
        self._targets |= {self._names.meaning(old): new for old, new in renamed.items()}
        self._targets |= {self._names.meaning(old): None for old in dropped}

    def identify(self, call: Mapping[str, Any], received_at: float) -> tuple[IterableRequest, ...]:
        """The requests for an identify, in the order in which they are to be sent.

        Raises BadInput `no_identity` and `nested_too_deep`.
        """
        who = identifiers(call)
        body = self._identity.user(who)
        chosen = options(call)
        for name, value in chosen.items():
            if name in _FLAGS and isinstance(value, bool):
                body[_FLAGS[name]] = value
        fields = body["dataFields"] = self._fields(call, received_at)
        self._identity.profile(who, fields)
        requests: tuple[IterableRequest, ...] = (post("users/update", body),)
        if self._registers_tokens:
            requests += self._tokens(call, who)
        if new := text_or_none(chosen.get(_NEW_EMAIL)):
            requests += self._change_of_email(who, new, fields)
        return requests

    def _fields(self, call: Mapping[str, Any], received_at: float) -> dict[str, Any]:
        """dataFields: what the context knows, and the traits over it."""
        fields: dict[str, Any] = {}
        context = member(call, "context")
        for name, target in _CONTEXT_FIELDS.items():
            if name in context:
                value = fields[target] = context[name]
                if isinstance(value, (dict, list)):
                    check_depth(value)
        traits = member(call, "traits")
        if traits:
            fields |= self._traits(traits)
            found = self._names.values(traits)
            created = found.get("created") or found.get("createdAt")
            if created and (met := self._dates.date(created)):
                fields["met"] = met
        fields["profileUpdatedAt"] = spell(happened_at(call, received_at))
        if None in fields.values() and not self._settings.send_nulls:
            return {name: value for name, value in fields.items() if value is not None}
        return fields

    def _traits(self, traits: Mapping[str, Any]) -> dict[str, Any]:
        """The traits under the names that they have at Iterable, dates in its spelling."""
        fields = self._dates.mapping(traits)
        moved: dict[str, Any] = {}
        for key, name in self._names.keys(traits).items():
            if name in self._targets:
                value, target = fields.pop(key), self._targets[name]
                # A null does not push out what another trait says.
                if target and (value is not None or target not in traits):
                    moved[target] = value
        return fields | moved

    def _change_of_email(
        self, who: Person, new: str, fields: dict[str, Any]
    ) -> tuple[IterableRequest, ...]:
        """The new address as Iterable wants it: a call of its own, or a field of the profile."""
        email, user_id = who
        if self._identity.changes_email_by_profile:
            fields["email"] = new
            return ()
        if email and email.lower() == new.lower():
            return ()
        return (update_email(email, user_id, new),)

    def _tokens(self, call: Mapping[str, Any], who: Person) -> tuple[IterableRequest, ...]:
        """Registrations of the device and the browser, with the keys that may do so (Iterable, API
        Keys article)."""
        context = member(call, "context")
        requests = []
        if self._settings.iterable_mobile_api_key and (device := self._device(context)):
            body = {**self._identity.user(who), "device": device}
            requests.append(post("users/registerDeviceToken", body, MOBILE))
        token = text_or_none(member(context, "os").get("token"))
        token = token or text_or_none(context.get("browserToken"))
        if self._settings.iterable_web_api_key and token:
            body = {**self._identity.keys(who), "browserToken": token}
            requests.append(post("users/registerBrowserToken", body, WEB))
        return tuple(requests)

    def _device(self, context: Mapping[str, Any]) -> dict[str, str] | None:
        """The device as Iterable registers it; None when one of the three required parts is
        unknown."""
        device, app = member(context, "device"), member(context, "app")
        token = text_or_none(device.get("token"))
        platform = _PLATFORMS.get((text_or_none(device.get("type")) or "").lower())
        application = (
            self._settings.iterable_application_name
            or text_or_none(app.get("namespace"))
            or text_or_none(app.get("name"))
        )
        if not token or not platform or not application:
            return None
        return {"token": token, "platform": platform, "applicationName": application}


def update_email(email: str | None, user_id: str | None, new: str) -> IterableRequest:
    """The request that gives a person a new address; the old one names the person where it is
    known."""
    current = {"currentEmail": email} if email else {"currentUserId": user_id}
    return post("users/updateEmail", {**current, "newEmail": new})
