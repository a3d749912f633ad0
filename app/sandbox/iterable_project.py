"""One Iterable project: its users, events, purchases and carts, and what it allows."""

import re
import uuid
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, fields
from marshmallow.validate import OneOf

from app.sandbox.iterable_fields import FieldTypes
from app.sandbox.iterable_people import (
    CLASSIC,
    EMAIL,
    Identity,
    People,
    Profile,
    Refused,
    unknown,
)
from app.sandbox.ledger import Ledger
from app.settings import ProjectType

# Per profile (Iterable, users/registerDeviceToken).
MAX_TOKENS = 500
MAX_ID_BYTES = 512
_EVENT_ID = re.compile(r"[A-Za-z0-9-]+")
_IDENTIFIERS = ("email", "userId")
PURCHASE, CUSTOM_EVENT = "purchase", "custom event"
_EVENT_FIELDS = ("createdAt", "campaignId", "templateId", "dataFields")


class ProjectSchema(Schema):
    """What `POST /project` takes.

    `strict_types`: refuse values of another type than the first one had; in bulk calls `true`
    refuses the entry and `"batch"` the whole call, since Iterable is known to do either.
    """

    type = fields.Enum(ProjectType, by_value=True)
    strict_types = fields.Raw(validate=OneOf([False, True, "batch"]))
    create_new_fields = fields.Boolean()
    disallowed_events = fields.List(fields.String())


def event_scope(name: str) -> str:
    """Events have their own field types, by name."""
    return f"event {name}"


class Project:
    """The methods raise Refused for what Iterable does not do."""

    def __init__(self) -> None:
        self.people = People()
        self.fields = FieldTypes()
        self.events = Ledger()
        self.purchases = Ledger()
        self.strict_types: bool | str = False
        self.disallowed_events: frozenset[str] = frozenset()
        self._create_new_fields = True

    def configure(self, given: Any) -> None:
        """Take the options of ProjectSchema; raises ValidationError."""
        order = ProjectSchema().load(given)
        self.people.type = order.get("type", self.people.type)
        self.strict_types = order.get("strict_types", self.strict_types)
        self._create_new_fields = order.get("create_new_fields", self._create_new_fields)
        if "disallowed_events" in order:
            self.disallowed_events = frozenset(order["disallowed_events"])

    def upsert(self, entry: Mapping[str, Any]) -> tuple[Profile, list[str], list[str]]:
        """Create or update a user (Iterable, users/update). Returns the user, the fields that are
        new to the project and those left out because new ones are not wanted."""
        who, data = Identity.of(entry), entry.get("dataFields") or {}
        new = Identity.of(data)
        self.people.require(who)
        self.people.check(new)
        data = {name: value for name, value in data.items() if name not in _IDENTIFIERS}
        self.check_types(entry)
        profile = self.people.open(who, entry.get("preferUserId") or False)
        self.people.settle(profile, who, new)
        data, left_out = self._without_new_fields("user", data, entry)
        _merge(profile.data, data, entry.get("mergeNestedObjects") or False)
        return profile, self.fields.pin("user", data), left_out

    def track(self, entry: Mapping[str, Any], at: float) -> tuple[str, list[str], list[str]]:
        """Store an event; a known id updates (Iterable, events/track). Returns its id and the field
        lists as `upsert` does."""
        who, name = Identity.of(entry), entry["eventName"]
        scope = event_scope(name)
        self.people.require(who)
        id = _event_id(entry)
        data = entry.get("dataFields") or {}
        self.check_types(entry, scope, CUSTOM_EVENT)
        self._known(who)
        data, left_out = self._without_new_fields(scope, data, entry)
        event = {"id": id, "eventName": name, "email": who.email, "userId": who.user_id}
        event |= {**_copied(entry), "dataFields": data}
        event.setdefault("createdAt", int(at))
        self.events.enter(id, event, at, update=True)
        return id, self.fields.pin(scope, data), left_out

    def purchase(self, entry: Mapping[str, Any], at: float) -> str:
        """Store a purchase, update its user and clear the cart (Iterable, commerce/trackPurchase).
        Returns its id."""
        id = entry.get("id") or str(uuid.uuid4())
        if len(id.encode()) > MAX_ID_BYTES:
            raise Refused("BadParams", f"The id is longer than {MAX_ID_BYTES} bytes")
        self.check_types(entry, PURCHASE, PURCHASE)
        profile, _, _ = self.upsert(entry["user"])
        profile.cart = None
        purchase = {"id": id, "email": profile.email, "userId": profile.user_id}
        purchase |= {"total": entry["total"], "items": entry["items"], **_copied(entry)}
        purchase.setdefault("createdAt", int(at))
        self.fields.pin(PURCHASE, entry.get("dataFields") or {})
        self.purchases.enter(id, purchase, at, update=True)
        return id

    def replace_cart(self, entry: Mapping[str, Any]) -> None:
        """The items become the whole cart (Iterable, commerce/updateCart)."""
        profile, _, _ = self.upsert(entry["user"])
        profile.cart = entry["items"]

    def change_email(self, entry: Mapping[str, Any]) -> None:
        """Give a user another address (Iterable, users/updateEmail; currentEmail wins)."""
        if self.people.type not in (CLASSIC, EMAIL):
            raise Refused("BadParams", "Only email-based projects change addresses here")
        old = Identity.of({"email": entry.get("currentEmail")})
        if old.email is None:
            old = Identity.of({"userId": entry.get("currentUserId")})
        new = Identity.of({"email": entry["newEmail"]})
        self.people.require(old)
        change = f"Cannot change user Some({old.email or old.user_id}) to {new.email}."
        if self.people.has_forgotten(new):
            message = f"{change} New email is on the forgotten list"
            raise Refused("ForgottenUserError", message, status=409)
        self.people.check(new)
        profile = self.people.find(old)
        if profile is None:
            raise Refused("BadParams", f"{change} User does not exist")
        if self.people.find(new) not in (None, profile):
            raise Refused("EmailAlreadyExists", f"{change} New email already exists")
        self.people.rename(profile, new.email, profile.user_id)

    def add_device(self, entry: Mapping[str, Any]) -> None:
        """Enter a device token (Iterable, users/registerDeviceToken)."""
        device = dict(entry["device"])
        if device["platform"] not in ("APNS", "APNS_SANDBOX", "GCM"):
            raise Refused("BadParams", "device.platform must be APNS, APNS_SANDBOX or GCM")
        profile, _, _ = self.upsert(entry)
        if device["token"] not in profile.devices and len(profile.devices) >= MAX_TOKENS:
            raise Refused("BadParams", f"The user has {MAX_TOKENS} devices already")
        profile.devices[device["token"]] = device | {"endpointEnabled": True}

    def disable_device(self, entry: Mapping[str, Any]) -> None:
        """Switch a token off, for one user or whoever has it (Iterable, users/disableDevice)."""
        who = Identity.of(entry)
        if who == (None, None):
            owners = self.people.newest(len(self.people))
        else:
            self.people.require(who)
            owner = self.people.find(who)
            owners = [owner] if owner is not None else []
        for profile in owners:
            if entry["token"] in profile.devices:
                profile.devices[entry["token"]]["endpointEnabled"] = False

    def add_browser_token(self, entry: Mapping[str, Any]) -> None:
        """Enter a web push token (Iterable, users/registerBrowserToken)."""
        profile, _, _ = self.upsert(entry)
        tokens = profile.browser_tokens
        if entry["browserToken"] in tokens:
            return
        if len(tokens) >= MAX_TOKENS:
            raise Refused("BadParams", f"The user has {MAX_TOKENS} browser tokens already")
        tokens.append(entry["browserToken"])

    def check_types(
        self, entry: Mapping[str, Any], scope: str = "user", category: str = "user"
    ) -> None:
        """Raise Refused if types count and one in `dataFields` is not the pinned one."""
        if not self.strict_types:
            return
        errors = self.fields.mismatches(scope, category, entry.get("dataFields") or {})
        if not errors:
            return
        path, error = next(iter(errors.items()))
        message = (
            "Project 1: the types of the request differ from those of earlier data; field "
            f"'{path}' has type '{error['expectedType']}' for '{category}' but the request "
            f"has '{','.join(error['incomingTypes'])}'"
        )
        raise Refused(
            "RequestFieldsTypesMismatched",
            message,
            params={"validationErrors": errors},
            listed=Identity.of(entry).listed("invalidData"),
        )

    def _known(self, who: Identity) -> None:
        """Events create users in userID-based and hybrid projects, never in email-based ones."""
        if self.people.type is CLASSIC or self.people.find(who) is not None:
            return
        if self.people.type is EMAIL:
            raise unknown(who)
        self.people.settle(Profile(), who, Identity(None, None))

    def _without_new_fields(
        self, scope: str, data: dict[str, Any], entry: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[str]]:
        wanted = entry.get("createNewFields")
        if self._create_new_fields if wanted is None else wanted:
            return data, []
        known = self.fields.of(scope)
        left_out = [name for name in data if name not in known]
        return {name: value for name, value in data.items() if name in known}, left_out


def _merge(kept: dict[str, Any], data: Mapping[str, Any], nested: bool) -> None:
    """Top-level fields replace what was there, null removes; `nested` merges objects one level
    deep (Iterable, mergeNestedObjects)."""
    for name, value in data.items():
        before = kept.get(name)
        if value is None:
            kept.pop(name, None)
        elif nested and isinstance(value, dict) and isinstance(before, dict):
            kept[name] = before | value
        else:
            kept[name] = value


def _event_id(entry: Mapping[str, Any]) -> str:
    id: str = entry.get("id") or str(uuid.uuid4())
    if len(id) > MAX_ID_BYTES or not _EVENT_ID.fullmatch(id):
        raise Refused(
            "BadParams",
            f"Invalid event id: letters, digits and hyphens, at most {MAX_ID_BYTES} bytes",
        )
    return id


def _copied(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in _EVENT_FIELDS if entry.get(name) is not None}
