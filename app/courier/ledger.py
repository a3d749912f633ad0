"""The books of one partition: what is unfinished, how far the commit may go, and the counters."""

from collections import Counter, OrderedDict, deque

import orjson

from app.log.base import Commit, Record

# Message ids remembered per partition. A sender's repeat comes within minutes (Segment and the SDKs
# retry for hours only after errors); this many calls of a partition are far more than that.
RECENT_IDS = 10_000


class RecentIds:
    """The message ids lately seen in a partition."""

    def __init__(self) -> None:
        self._order: deque[str] = deque()
        self._known: set[str] = set()

    def add(self, record: Record) -> bool:
        """Remember a record's id; False when it was there already."""
        message_id = record.headers.get("message-id")
        if not message_id:
            return True
        if message_id in self._known:
            return False
        self._known.add(message_id)
        self._order.append(message_id)
        if len(self._order) > RECENT_IDS:
            self._known.discard(self._order.popleft())
        return True


class Ledger:
    """One partition while it is assigned to us.

    The committed offset is that of the first unfinished record, or the next one to be read; records
    finish in any order. The counters travel in the commit's metadata: they survive restarts and
    move with the partition from courier to courier. What finished beyond the committed offset is
    repeated after a kill, and then counted again.
    """

    def __init__(self, partition: int, start: Commit | None) -> None:
        self.partition = partition
        self.recent = RecentIds()
        self.revoked = False
        self.in_flight = 0
        metadata = start.metadata if start else ""
        self.counts: Counter[str] = Counter(parse_counters(metadata))
        self.notices: Counter[str] = Counter(parse_notices(metadata))
        self._unfinished: OrderedDict[int, None] = OrderedDict()
        self._next = start.offset if start else 0

    def begin(self, record: Record) -> None:
        """A record was read."""
        self._unfinished[record.offset] = None
        self._next = record.offset + 1

    def finish(self, offset: int, verdict: str | None, notice: str | None = None) -> None:
        """A record is done with: `delivered`, `discarded`, `dead`, or None where nothing was to do.

        `notice` is the code of a loss that the partner did not call a failure.
        """
        del self._unfinished[offset]
        if verdict:
            self.counts[verdict] += 1
        if notice:
            self.notices[notice] += 1

    @property
    def committable(self) -> int:
        """The offset of the first unfinished record, or of the next to be read."""
        return next(iter(self._unfinished), self._next)

    def commit(self, state: str, reason: str) -> Commit:
        """What to store now; `state` and `reason` tell `bridge status` how the destination is."""
        shown = {**self.counts, "state": state, "reason": reason[:500]}
        if self.notices:
            shown["notices"] = self.notices
        return Commit(self.committable, orjson.dumps(shown).decode())


def parse_counters(metadata: str) -> dict[str, int]:
    """The counters in a commit's metadata; empty for a partition that was never committed."""
    shown = orjson.loads(metadata) if metadata else {}
    return {name: shown.get(name, 0) for name in ("delivered", "discarded", "dead")}


def parse_notices(metadata: str) -> dict[str, int]:
    """How often each notice occurred, from a commit's metadata."""
    shown = orjson.loads(metadata) if metadata else {}
    notices: dict[str, int] = shown.get("notices", {})
    return notices
