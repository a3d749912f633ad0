"""Field types as Iterable keeps them: the first value pins the type for the whole project
(Iterable, Field data types)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

# What Iterable takes for a date; `2024-11-25T13:37:19Z`, without milliseconds, is none.
_DATE = re.compile(
    r"\d{4}-\d\d-\d\d"
    r"(?: \d\d:\d\d:\d\d(?: [+-]\d\d:\d\d)?|T\d\d:\d\d:\d\d\.\d{3}(?:Z|[+-]\d\d:\d\d))?"
)
# Soft limit of custom-event fields; beyond it nothing is pinned any more.
MAX_FIELDS = 8000

# Which incoming types a pinned type takes besides itself.
_TAKES = {"string": {"date"}, "double": {"long"}}


def type_of(name: str, value: Any) -> str:
    """Iterable's name for the type of a value that is neither null nor a list."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "long"
    if isinstance(value, float):
        return "double"
    if isinstance(value, str):
        return "date" if _DATE.fullmatch(value) else "string"
    return "geo_location" if name.endswith("_geo_location") else "object"


def typed_paths(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """Path, type and value of every field, nested ones too: they count as fields of their own.

    Arrays have the type of their elements; objects in them are `nested` and not looked into.
    """
    for name, value in data.items():
        path = prefix + name
        if isinstance(value, list):
            for element in value:
                if isinstance(element, dict):
                    yield path, "nested", element
                elif element is not None and not isinstance(element, list):
                    yield path, type_of(name, element), element
        elif value is not None:
            kind = type_of(name, value)
            yield path, kind, value
            if kind == "object":
                yield from typed_paths(value, f"{path}.")


class FieldTypes:
    """The pinned types of one project, by scope: `user`, or the name of an event."""

    def __init__(self) -> None:
        self._scopes: dict[str, dict[str, str]] = {}
        self._count = 0

    def of(self, scope: str) -> Mapping[str, str]:
        """Pinned types by path."""
        return self._scopes.get(scope, {})

    def mismatches(self, scope: str, category: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """What Iterable calls `validationErrors`; empty when every value fits."""
        pinned = self.of(scope)
        found: dict[str, Any] = {}
        for path, kind, value in typed_paths(data):
            expected = pinned.get(path, kind)
            if kind == expected or kind in _TAKES.get(expected, ()):
                continue
            found[path] = {
                "incomingTypes": ["string", "keyword"] if kind == "string" else [kind],
                "expectedType": expected,
                "category": category,
                "offendingValue": value,
                "_type": "UnexpectedType",
            }
        return found

    def pin(self, scope: str, data: Mapping[str, Any]) -> list[str]:
        """Pin what is new; returns the paths."""
        created = []
        for path, kind, _ in typed_paths(data):
            pinned = self._scopes.setdefault(scope, {})
            if path not in pinned and self._count < MAX_FIELDS:
                pinned[path] = kind
                self._count += 1
                created.append(path)
        return created
