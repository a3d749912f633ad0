"""Makes a message that is over Segment's 32 KB fit, by leaving out what is largest."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from segment.analytics.consumer import MAX_MSG_SIZE

from app.inbound.message import SegmentMessage

REMOVED = "bridge_removed"
# Customer-defined content goes first, field by field; then the in-app message's HTML document.
_CUSTOM = ("transactionalData", "payload")
_DOCUMENT = "inAppBody"


class _Part(NamedTuple):
    """Something that can be left out: a property, or one `field` of it, and its bytes."""

    size: int
    name: str
    field: str | None

    @property
    def path(self) -> str:
        return self.name if self.field is None else f"{self.name}.{self.field}"

    @property
    def cost(self) -> int:
        """Bytes that its path takes in the list, with a comma."""
        return _size(self.path) + 2


def relieved(message: SegmentMessage) -> SegmentMessage | None:
    """The message without as many of its largest parts as it takes, or None if that is not enough.

    The property `bridge_removed` names what is missing: `transactionalData.items`. Where there are
    so many small fields that their names alone are too long, `transactionalData` goes as a whole.
    """
    whole = [_whole(name, message.body) for name in (*_CUSTOM, _DOCUMENT) if message.body.get(name)]
    for removed in (_largest(message), whole):
        smaller = replace(message, body=_without(message.body, removed))
        if _size(smaller.describe()) <= MAX_MSG_SIZE:
            return smaller
    return None


def _largest(message: SegmentMessage) -> list[_Part]:
    excess = _size(message.describe()) + _size({REMOVED: []}) - MAX_MSG_SIZE
    removed = []
    for part in _parts(message.body):
        if excess <= 0:
            break
        removed.append(part)
        excess -= part.size - part.cost
    return removed


def _parts(properties: Mapping[str, Any]) -> Iterator[_Part]:
    """The largest first, without those whose name in the list is longer than they are."""
    parts = [part for name in _CUSTOM for part in _fields(name, properties)]
    parts.sort(key=lambda part: -part.size)
    if properties.get(_DOCUMENT):
        parts.append(_whole(_DOCUMENT, properties))
    return (part for part in parts if part.size > part.cost)


def _fields(name: str, properties: Mapping[str, Any]) -> list[_Part]:
    value = properties.get(name)
    if isinstance(value, dict):
        return [_Part(_size({field: value[field]}), name, field) for field in value]
    return [_whole(name, properties)] if value else []


def _whole(name: str, properties: Mapping[str, Any]) -> _Part:
    return _Part(_size({name: properties[name]}), name, None)


def _without(properties: Mapping[str, Any], removed: list[_Part]) -> dict[str, Any]:
    left = dict(properties)
    for name in _CUSTOM:
        gone = {part.field for part in removed if part.name == name}
        if gone and isinstance(left.get(name), dict):
            left[name] = {field: left[name][field] for field in left[name] if field not in gone}
    for part in removed:
        if part.field is None:
            del left[part.name]
    return left | {REMOVED: [part.path for part in removed]}


def _size(value: object) -> int:
    """Bytes as analytics-python counts them."""
    return len(json.dumps(value))
