"""What an Iterable system webhook must look like to be taken."""

from typing import Any

import orjson
from marshmallow import INCLUDE, Schema, ValidationError, fields

from app.errors import BadInput
from app.inbound.identity import id_text, identity


class UserId(fields.String):
    """A text; a number becomes one, for projects whose ids were imported as numbers."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        text = id_text(value) if type(value) in (int, float) else value
        return super()._deserialize(text, *args, **kwargs)


def _not_blank(text: str) -> None:
    if not text.strip():
        raise ValidationError("must not be empty")


class WebhookSchema(Schema):
    """One system webhook (Iterable, System Webhooks article). Fields that Iterable adds pass."""

    class Meta:
        unknown = INCLUDE

    eventName = fields.String(
        required=True,
        validate=_not_blank,
        error_messages={
            "required": "is missing; every Iterable webhook has one, like emailOpen",
            "null": "must be a text like emailOpen",
            "invalid": "must be a text like emailOpen",
        },
    )
    email = fields.String(
        allow_none=True, error_messages={"invalid": "must be a text, null or left out"}
    )
    userId = UserId(allow_none=True, error_messages={"invalid": "must be a text, null or left out"})
    dataFields = fields.Dict(
        allow_none=True, error_messages={"invalid": "must be an object, null or left out"}
    )


_SCHEMA = WebhookSchema()
_EXACT: dict[type, type] = {fields.String: str, UserId: str, fields.Dict: dict}
# For each field the types that the schema takes as they are; an absent value reads as None.
_PLAIN = tuple(
    (
        name,
        (_EXACT[type(field)], type(None)) if field.allow_none else (_EXACT[type(field)],),
        tuple(field.validators),
    )
    for name, field in _SCHEMA.fields.items()
)


def check_webhook(data: object) -> dict[str, Any]:
    """Return a webhook's body if it can be used.

    Raises BadInput with the code `not_an_object`, `invalid_webhook` or `no_identity`.
    """
    if not isinstance(data, dict):
        raise BadInput(
            "not_an_object", "an Iterable webhook is one JSON object with an eventName in it"
        )
    webhook = data if _is_plain(data) else _load(data)
    if identity(webhook) is None:
        raise BadInput(
            "no_identity",
            "the webhook names nobody: an email or a userId is required, at the top level or in "
            "dataFields; an @placeholder.email address is neither",
            {"email": ["an email or a userId is required"]},
        )
    _check_depth(webhook)
    return webhook


def _is_plain(data: dict[str, Any]) -> bool:
    """Whether `Schema.load` would return `data` as it is, at a fraction of its cost."""
    for name, types, validators in _PLAIN:
        value = data.get(name)
        if type(value) not in types:
            return False
        try:
            for validator in validators:
                validator(value)
        except ValidationError:
            return False
    return True


def _load(data: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(_SCHEMA.load(data))
    except ValidationError as error:
        raise BadInput(
            "invalid_webhook",
            "the webhook is not as Iterable sends it: see errors",
            error.messages_dict,
        ) from None


def _check_depth(webhook: dict[str, Any]) -> None:
    """analytics-python walks through a message by recursion; orjson's limit of 254 levels is well
    below Python's."""
    try:
        orjson.dumps(webhook)
    except TypeError:
        raise BadInput(
            "invalid_webhook",
            "the webhook is nested too deeply",
            {"dataFields": ["must not be nested deeper than 250 levels"]},
        ) from None
