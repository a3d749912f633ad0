"""What has arrived: each request, how many per endpoint, and how many in any one second."""

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

# A benchmark may send for hours; the oldest entries go when either bound is reached.
KEEP_ENTRIES = 200_000
KEEP_BYTES = 256 * 1024 * 1024
KEEP_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. `at` is Unix time with microseconds; `status` is None when no answer was given;
    `key` says which type of key was used, never the key."""

    at: float
    method: str
    path: str
    body: bytes
    key: str
    status: int | None
    fault: str | None

    def shown(self, number: int) -> dict[str, Any]:
        """As JSON shows it."""
        entry = {"number": number, "at": self.at, "method": self.method, "path": self.path}
        entry |= {"key": self.key, "body": readable(self.body), "status": self.status}
        if self.fault is not None:
            entry["fault"] = self.fault
        return entry


def readable(body: bytes) -> Any:
    """The body as JSON where it is JSON, as text otherwise.

    Segment's libraries put the write key into the body, and sources into each event: left out.
    """
    if not body:
        return None
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
    for part in (value, *_batch(value)):
        if isinstance(part, dict):
            part.pop("writeKey", None)
    return value


def _batch(value: Any) -> list[Any]:
    batch = value.get("batch") if isinstance(value, dict) else None
    return batch if isinstance(batch, list) else []


class Arrivals:
    """Exact counts of one endpoint's requests per second.

    The busiest sliding second always ends with an arrival, so looking back from each one finds it.
    """

    def __init__(self) -> None:
        self.per_second: OrderedDict[int, int] = OrderedDict()
        self.busiest_second = 0
        self.busiest_sliding_second = 0
        self._window: deque[float] = deque()

    def add(self, at: float) -> None:
        """Count a request that arrived at `at`."""
        second = int(at)
        count = self.per_second.get(second, 0) + 1
        self.per_second[second] = count
        if len(self.per_second) > KEEP_SECONDS:
            self.per_second.popitem(last=False)
        self.busiest_second = max(self.busiest_second, count)
        window = self._window
        window.append(at)
        while window[0] <= at - 1.0:
            window.popleft()
        self.busiest_sliding_second = max(self.busiest_sliding_second, len(window))


class Journal:
    """Every request in the order of arrival, numbered from 1, as far back as the bounds allow."""

    def __init__(self) -> None:
        self.keep = KEEP_ENTRIES
        self.counts: Counter[str] = Counter()
        self._arrivals: dict[str, Arrivals] = {}
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._last = 0

    def add(self, endpoint: str, entry: Entry) -> None:
        """Enter a request that belongs to `endpoint`."""
        self.counts[endpoint] += 1
        self._arrivals.setdefault(endpoint, Arrivals()).add(entry.at)
        self._entries.append(entry)
        self._bytes += len(entry.body)
        self._last += 1
        while len(self._entries) > self.keep or self._bytes > KEEP_BYTES:
            self._bytes -= len(self._entries.popleft().body)

    def after(self, number: int, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` entries that came after entry `number`, oldest first."""
        dropped = self._last - len(self._entries)
        start = max(number - dropped, 0)
        return [
            entry.shown(dropped + start + place)
            for place, entry in enumerate(islice(self._entries, start, start + limit), 1)
        ]

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The last `limit` entries, oldest first."""
        return self.after(max(self._last - limit, 0), limit)

    def rates(self) -> dict[str, Any]:
        """Requests per calendar second and the busiest seconds, by endpoint."""
        arrivals = sorted(self._arrivals.items())
        return {
            "per_second": {
                endpoint: {str(second): count for second, count in seen.per_second.items()}
                for endpoint, seen in arrivals
            },
            "busiest": {
                endpoint: {
                    "second": seen.busiest_second,
                    "sliding_second": seen.busiest_sliding_second,
                }
                for endpoint, seen in arrivals
            },
        }
