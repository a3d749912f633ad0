"""Which keys a stand-in knows. Any key will do until somebody says otherwise."""

from collections.abc import Sequence
from typing import Any

from marshmallow import fields
from marshmallow.validate import OneOf

ANY, NONE, REVOKED = "any", "none", "revoked"
# Stands for all keys that are not named.
OTHERS = "*"


class Keys:
    """The type of each key."""

    def __init__(self, types: Sequence[str]) -> None:
        self._field = fields.Dict(
            fields.String(), fields.String(validate=OneOf([ANY, REVOKED, *types]))
        )
        self._types: dict[str, str] = {}

    def type(self, key: str | None) -> str:
        """The key's type; `none` without a key."""
        if not key:
            return NONE
        return self._types.get(key) or self._types.get(OTHERS, ANY)

    def set(self, given: Any) -> None:
        """Take `{key: type}`; `*` stands for all other keys. Raises ValidationError."""
        self._types.update(self._field.deserialize(given))

    def reset(self) -> None:
        """Any key will do again."""
        self._types.clear()
