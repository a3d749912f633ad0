"""What Segment sends, in marshmallow's terms, and a quick look that spares it the plain cases.

The spec is a convention, not a contract: SDKs add fields, send numbers as ids and null for what
they do not know. So unknown fields are kept on purpose, and only what cannot be worked with is
refused (Segment spec, common fields).
"""

from collections.abc import Mapping
from typing import Any

from marshmallow import INCLUDE, Schema, ValidationError, fields, missing

from app.errors import BadInput


class Identifier(fields.Field[str]):
    """Text, or the number that some SDKs send in its place."""

    default_error_messages = {"invalid": "must be a string or a number"}  # noqa: RUF012 (marshmallow's own way)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.make_error("invalid")
        return str(int(value)) if float(value).is_integer() else str(value)


class MessageId(Identifier):
    """A hint to recognise repeats. An unusable one counts as absent, for an event must not be lost
    over it."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        try:
            return super()._deserialize(value)
        except ValidationError:
            return ""


def _not_blank(value: str) -> None:
    if not value.strip():
        raise ValidationError("must not be empty")


_MESSAGES: dict[str, Any] = {"required": "is missing", "null": "is missing"}
_NOT_TEXT = _MESSAGES | {"invalid": "must be a string"}
_NOT_OBJECT: dict[str, Any] = {"invalid": "must be an object"}


def _identifier() -> Identifier:
    return Identifier(allow_none=True)


def _object() -> fields.Dict:
    return fields.Dict(allow_none=True, error_messages=_NOT_OBJECT)


class CallSchema(Schema):
    """The fields that every call has in common."""

    class Meta:
        unknown = INCLUDE

    type = fields.String(required=True, validate=_not_blank, error_messages=_NOT_TEXT)
    userId = _identifier()
    anonymousId = _identifier()
    messageId = MessageId(allow_none=True)
    context = _object()
    integrations = _object()
    # Times are read leniently by the mapping: a wrong one must not cost the event.
    timestamp = fields.Raw(allow_none=True)
    originalTimestamp = fields.Raw(allow_none=True)
    sentAt = fields.Raw(allow_none=True)
    receivedAt = fields.Raw(allow_none=True)


class IdentifySchema(CallSchema):
    traits = _object()


class TrackSchema(CallSchema):
    event = fields.String(required=True, validate=_not_blank, error_messages=_NOT_TEXT)
    properties = _object()


class PageSchema(CallSchema):
    name = _identifier()
    category = _identifier()
    properties = _object()


class ScreenSchema(PageSchema):
    pass


class AliasSchema(CallSchema):
    previousId = _identifier()


class GroupSchema(CallSchema):
    groupId = _identifier()
    traits = _object()


class DeleteSchema(CallSchema):
    """A user's deletion, as Segment's Webhooks destination forwards it."""


class BatchSchema(Schema):
    """The body of /v1/batch and /v1/import. Its calls are checked one by one, each for itself."""

    class Meta:
        unknown = INCLUDE

    batch = fields.List(
        fields.Raw(allow_none=True),
        required=True,
        error_messages=_MESSAGES | {"invalid": "must be an array of calls"},
    )
    writeKey = fields.String(allow_none=True, error_messages=_NOT_TEXT)
    sentAt = fields.Raw(allow_none=True)
    context = _object()
    integrations = _object()


def _takes_anything(field: fields.Field[Any]) -> bool:
    return type(field) is fields.Raw and field.allow_none is True and not field.required


def _plain_types(field: fields.Field[Any]) -> frozenset[type]:
    """The types whose values the field returns as they are; NoneType and marshmallow's own for
    absent among them. Fields that convert, or that look into objects and arrays, have none."""
    plain: set[type] = set()
    if type(field) in (fields.String, Identifier, MessageId):
        plain.add(str)
    if type(field) is fields.Dict and field.key_field is None and field.value_field is None:
        plain.add(dict)
    if type(field) is fields.List and _takes_anything(field.inner):
        plain.add(list)
    if field.allow_none:
        plain.add(type(None))
    if not field.required and field.load_default is missing:
        plain.add(type(missing))
    return frozenset(plain)


class QuickLook:
    """Tells at a glance what a schema would return unchanged, so that load() is spared.

    It is made from the schema's declared fields: a value whose exact type the field passes as it
    is, and that the field's own validators accept, needs no marshmallow machinery. Whatever looks
    different in any way is left to load(), whose word is final.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._types = tuple(
            (name, _plain_types(field))
            for name, field in schema.fields.items()
            if not _takes_anything(field)
        )
        self._validators = tuple(
            (name, tuple(field.validators))
            for name, field in schema.fields.items()
            if field.validators
        )

    def is_plain(self, data: Mapping[str, Any]) -> bool:
        """Whether load() would return `data` as it is."""
        get = data.get
        for name, plain in self._types:
            if type(get(name, missing)) not in plain:
                return False
        try:
            for name, validators in self._validators:
                for validate in validators:
                    validate(data[name])
        except ValidationError:
            return False
        return True

    def check(self, data: dict[str, Any], code: str, what: str) -> dict[str, Any]:
        """Return `data` validated; raises BadInput naming every wrong field."""
        if self.is_plain(data):
            return data
        try:
            loaded: dict[str, Any] = self.schema.load(data)
        except ValidationError as error:
            wrong: dict[str, list[str]] = dict(error.messages_dict)
            names = ", ".join(sorted(wrong))
            raise BadInput(code, f"the {what} is not valid: see {names}", wrong) from None
        return loaded


_LOOKS = {
    name: QuickLook(schema())
    for name, schema in {
        "identify": IdentifySchema,
        "track": TrackSchema,
        "page": PageSchema,
        "screen": ScreenSchema,
        "alias": AliasSchema,
        "group": GroupSchema,
        "delete": DeleteSchema,
    }.items()
}
CALL_TYPES = frozenset(_LOOKS)
_ANY_CALL = QuickLook(CallSchema())
_BATCH = QuickLook(BatchSchema())


def check_call(data: object) -> dict[str, Any]:
    """Return the call, validated, ids as strings; a type unknown here is left to the mapping.

    Raises BadInput: `not_an_object`, or `invalid_call` with the wrong fields.
    """
    if not isinstance(data, dict):
        raise BadInput("not_an_object", "a call must be a JSON object")
    kind = data.get("type")
    look = _LOOKS.get(kind, _ANY_CALL) if isinstance(kind, str) else _ANY_CALL
    return look.check(data, "invalid_call", "call")


def check_batch(data: object) -> dict[str, Any]:
    """Return the body of a batch, validated, its calls as they came.

    Raises BadInput: `not_an_object`, or `invalid_batch` with the wrong fields.
    """
    if not isinstance(data, dict):
        raise BadInput("not_an_object", "a batch must be a JSON object")
    return _BATCH.check(data, "invalid_batch", "batch")
