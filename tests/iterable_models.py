"""Iterable's request models in marshmallow's terms: no request of the bridge may go out malformed.

Field names, JSON types and required fields are those of Iterable's API reference. Unknown fields
are refused, so that a misspelt one is found here and not by silence at Iterable.
"""

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validates_schema
from marshmallow.validate import Length, OneOf, Range, Regexp


class JsonNumber(fields.Field[float]):
    """A JSON number. marshmallow's own fields take strings for numbers; Iterable does not."""

    types: tuple[type, ...] = (int, float)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if not isinstance(value, self.types) or (
            isinstance(value, bool) and bool not in self.types
        ):
            raise ValidationError("is of the wrong JSON type")
        return value


class JsonInteger(JsonNumber):
    types = (int,)


class JsonBoolean(JsonNumber):
    types = (bool,)


def _text(**options: Any) -> fields.String:
    return fields.String(validate=Length(min=1), **options)


def _int32() -> JsonInteger:
    return JsonInteger(validate=Range(0, 2**31 - 1))


def _object() -> fields.Dict:
    return fields.Dict(keys=fields.String())


class Model(Schema):
    class Meta:
        unknown = RAISE


class ByUser(Model):
    """A request about one user."""

    email = _text()
    userId = _text()

    @validates_schema
    def names_a_user(self, data: Mapping[str, Any], **_: Any) -> None:
        if "email" not in data and "userId" not in data:
            raise ValidationError("email or userId is required")


class UserUpdate(ByUser):
    dataFields = _object()
    preferUserId = JsonBoolean()
    mergeNestedObjects = JsonBoolean()
    createNewFields = JsonBoolean()


class BulkUser(ByUser):
    dataFields = _object()
    preferUserId = JsonBoolean()
    mergeNestedObjects = JsonBoolean()


class BulkUpdate(Model):
    users = fields.List(fields.Nested(BulkUser), required=True, validate=Length(min=1))
    createNewFields = JsonBoolean()


class UpdateEmail(Model):
    currentEmail = _text()
    currentUserId = _text()
    newEmail = _text(required=True)

    @validates_schema
    def names_a_user(self, data: Mapping[str, Any], **_: Any) -> None:
        if "currentEmail" not in data and "currentUserId" not in data:
            raise ValidationError("currentEmail or currentUserId is required")


class Event(ByUser):
    eventName = _text(required=True)
    id = fields.String(validate=Regexp(r"[A-Za-z0-9-]{1,512}\Z"))
    # 0 is what a client sends that forgot to set it.
    createdAt = JsonInteger(validate=Range(min=1))
    dataFields = _object()
    campaignId = _int32()
    templateId = _int32()
    createNewFields = JsonBoolean()


class TrackBulk(Model):
    events = fields.List(fields.Nested(Event), required=True, validate=Length(min=1))


class Item(Model):
    id = _text(required=True)
    name = _text(required=True)
    price = JsonNumber(required=True)
    quantity = JsonInteger(required=True)
    sku = fields.String()
    description = fields.String()
    url = fields.String()
    imageUrl = fields.String()
    categories = fields.List(fields.String())
    dataFields = _object()


class UpdateCart(Model):
    user = fields.Nested(UserUpdate, required=True)
    items = fields.List(fields.Nested(Item), required=True)


class TrackPurchase(Model):
    id = fields.String(validate=Regexp(r"[A-Za-z0-9-]{1,512}\Z"))
    user = fields.Nested(UserUpdate, required=True)
    items = fields.List(fields.Nested(Item), required=True)
    total = JsonNumber(required=True)
    createdAt = JsonInteger(validate=Range(min=1))
    dataFields = _object()
    campaignId = _int32()
    templateId = _int32()


class Device(Model):
    token = _text(required=True)
    platform = fields.String(required=True, validate=OneOf(("APNS", "APNS_SANDBOX", "GCM")))
    applicationName = _text(required=True)
    dataFields = _object()


class RegisterDeviceToken(ByUser):
    device = fields.Nested(Device, required=True)
    preferUserId = JsonBoolean()


class DisableDevice(Model):
    token = _text(required=True)
    email = _text()
    userId = _text()


class RegisterBrowserToken(ByUser):
    browserToken = _text(required=True)


class Forget(ByUser):
    @validates_schema
    def names_one_way_only(self, data: Mapping[str, Any], **_: Any) -> None:
        if len(data) > 1:
            raise ValidationError("email or userId, not both")


MODELS: Mapping[str, Schema] = {
    "users/update": UserUpdate(),
    "users/bulkUpdate": BulkUpdate(),
    "users/updateEmail": UpdateEmail(),
    "users/registerDeviceToken": RegisterDeviceToken(),
    "users/registerBrowserToken": RegisterBrowserToken(),
    "users/disableDevice": DisableDevice(),
    "users/forget": Forget(),
    "events/track": Event(),
    "events/trackBulk": TrackBulk(),
    "commerce/updateCart": UpdateCart(),
    "commerce/trackPurchase": TrackPurchase(),
}
_DELETE_PATH = re.compile(r"/api/users/(?:byUserId/)?[^/?#@+\s]+")


def problems(method: str, path: str, body: Any) -> dict[str, Any]:
    """What is wrong with a request to Iterable, by field; nothing when it is well formed."""
    if method == "DELETE":
        well_formed = body is None and _DELETE_PATH.fullmatch(path)
        return {} if well_formed else {"path": ["not a well-formed deletion"]}
    model = MODELS.get(path.removeprefix("/api/"))
    if method != "POST" or model is None:
        return {"path": [f"the bridge sends no {method} {path}"]}
    found: dict[str, Any] = dict(model.validate(body))
    return found
