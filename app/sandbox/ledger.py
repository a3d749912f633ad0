"""Things with an id, of which the same id counts once: events, purchases, Segment's messages."""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

# Kept as JSON text: a fifth of the memory that dictionaries would take.
KEEP = 200_000


@dataclass(slots=True)
class Kept:
    """One thing: its JSON, when it first came (Unix seconds) and how often it came again."""

    content: bytes
    first_at: float
    repeats: int = 0

    def shown(self) -> dict[str, Any]:
        """As JSON shows it."""
        content: dict[str, Any] = orjson.loads(self.content)
        return content | {"first_at": self.first_at, "repeats": self.repeats}


class Ledger:
    """Keeps the newest; counts all."""

    def __init__(self) -> None:
        self.total = 0
        self.repeats = 0
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def enter(self, id: str, thing: dict[str, Any], at: float, *, update: bool) -> bool:
        """Enter a thing; a known id is counted as a repeat and with `update` replaces what was
        kept. Returns whether it was new."""
        kept = self._kept.get(id)
        if kept is not None:
            kept.repeats += 1
            self.repeats += 1
            if update:
                kept.content = _compact(thing)
            return False
        self.total += 1
        self._kept[id] = Kept(_compact(thing), at)
        if len(self._kept) > KEEP:
            self._kept.popitem(last=False)
        return True

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The last `limit` things, oldest first."""
        things = [kept.shown() for kept in islice(reversed(self._kept.values()), limit)]
        return things[::-1]

    def repeated(self, limit: int) -> dict[str, int]:
        """Up to `limit` ids that came more than once, with the number of repeats."""
        repeated = ((id, kept.repeats) for id, kept in self._kept.items() if kept.repeats)
        return dict(islice(repeated, limit))


def _compact(thing: dict[str, Any]) -> bytes:
    # What orjson gives may hold on to kilobytes beyond its length; a copy does not.
    return bytes(memoryview(orjson.dumps(thing)))
