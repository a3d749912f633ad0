"""Values given the type that an Iterable field is pinned to, where there is a single way to do it.

The types and what fits them: Iterable, Field Data Types article.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson


def coerce(value: Any, expected: str) -> Any:
    """Give a value the expected type; the same object when it has it.

    Null fits everywhere: it removes the field. Of an array every element must fit, as Iterable's
    arrays have their elements' type. Raises ValueError when there is no single way to do it.
    """
    convert = _CONVERSIONS.get(expected)
    if convert is None:
        raise ValueError(f"no way to make it {expected}")
    if value is None:
        return value
    if isinstance(value, list) and expected != "nested":
        elements = [coerce(element, expected) for element in value]
        same = all(new is old for new, old in zip(elements, value, strict=True))
        return value if same else elements
    return convert(value)


def _string(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return orjson.dumps(value).decode()
    raise ValueError("an object is no text")


_INTEGER = re.compile(r"-?(0|[1-9]\d{0,18})(\.0+)?", re.ASCII)
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,307})(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)


def _long(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    # Leading zeros mark a code rather than a number; they would be lost.
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        number = int(value.strip().partition(".")[0])
        if -(2**63) <= number < 2**63:
            return number
    raise ValueError("not a whole number")


def _double(value: Any) -> Any:
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and int(float(value)) == value:
        return float(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        number = float(value)
        if math.isfinite(number):
            return number
    raise ValueError("not a number")


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise ValueError("not a truth value")


# The spellings that Iterable takes for a date; anything else is text to it.
_DATE = re.compile(
    r"\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d(?: [+-]\d\d:\d\d)?"
    r"|T\d\d:\d\d:\d\d\.\d{3}(?:Z|[+-]\d\d:\d\d))?",
    re.ASCII,
)
_LIKE_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _date(value: Any) -> Any:
    # Numbers stay out: seconds or milliseconds, no one can tell.
    if not isinstance(value, str) or not _LIKE_DATE.match(value.strip()):
        raise ValueError("not a date")
    if _DATE.fullmatch(value):
        return value
    moment = datetime.fromisoformat(value.strip())
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S +00:00")


def _geo_location(value: Any) -> Any:
    if not isinstance(value, dict) or value.keys() != {"lat", "lon"}:
        raise ValueError("not a place")
    place = {name: _double(part) for name, part in value.items()}
    return value if all(type(part) in (int, float) for part in value.values()) else place


def _object(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    raise ValueError("not an object")


def _nested(value: Any) -> Any:
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list) and all(isinstance(element, dict) for element in value):
        return value
    raise ValueError("not an array of objects")


_CONVERSIONS: Mapping[str, Callable[[Any], Any]] = {
    "string": _string,
    "text": _string,
    "keyword": _string,
    "long": _long,
    "integer": _long,
    "double": _double,
    "float": _double,
    "boolean": _boolean,
    "date": _date,
    "geo_location": _geo_location,
    "geo_point": _geo_location,
    "object": _object,
    "nested": _nested,
}
