"""Kinds of settings that marshmallow does not bring along."""

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError
from marshmallow import fields as types


class Duration(types.Field[float]):
    """Seconds, from a number or from a text with a unit: `90`, `30s`, `15m`, `12h`, `7d`."""

    UNITS: Mapping[str, float] = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:
        text = str(value).strip().lower()
        number, unit = (text[:-1], text[-1:]) if text[-1:] in self.UNITS else (text, "s")
        try:
            seconds = float(number) * self.UNITS[unit]
        except ValueError:
            raise ValidationError("not a duration; write it like 30s, 15m, 12h or 7d") from None
        if not 0 < seconds < 1e9:
            raise ValidationError("must be more than 0 and finite")
        return seconds


class Secrets(types.Field[tuple[str, ...]]):
    """One secret, or several separated by commas while they are being rotated."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        return tuple(part.strip() for part in str(value).split(",") if part.strip())
