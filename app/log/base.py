"""What a log engine must do. The docstrings here are the contract; `tests/test_log_contract.py`
tests it.

The model is Apache Kafka's: a topic has partitions, a partition is a sequence of records with
rising offsets, and a consumer group remembers one committed offset per partition. The embedded
SQLite engine offers exactly the same, so the rest of the program never asks which engine it runs
on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

SEGMENT_CALLS = "segment.calls"
ITERABLE_WEBHOOKS = "iterable.webhooks"
DEAD_LETTERS = "dead.letters"
RECEIPTS = "receipts"
TOPICS = (SEGMENT_CALLS, ITERABLE_WEBHOOKS, DEAD_LETTERS, RECEIPTS)


class LogUnavailable(Exception):
    """The log cannot take or give records now: disk full, broker away. Whoever sent something
    retries."""


@dataclass(slots=True)
class NewRecord:
    """What is to be appended; not frozen, for a frozen one takes twice as long to make.

    `key` is the person; records of one key stay in one partition and keep their order. A `value` of
    None is a tombstone: it ends an earlier record of the same key, as in a compacted Kafka topic.
    """

    key: str
    value: bytes | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Record:
    """What the log gives back: a `NewRecord` with its place and the time it was stored (Unix
    seconds)."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes | None
    headers: Mapping[str, str]
    appended_at: float


@dataclass(frozen=True, slots=True)
class Commit:
    """A consumer group's progress in one partition.

    `offset` is that of the next record to deliver: every earlier one is finished. `metadata` is a
    short text (at most 4,000 bytes) stored with it, where the courier keeps its counters and its
    state.
    """

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a group is in one partition. `oldest_waiting` is the `appended_at` of its next
    record."""

    partition: int
    committed: int
    end: int
    metadata: str
    oldest_waiting: float | None

    @property
    def waiting(self) -> int:
        """Records not yet finished (an upper bound: offsets may have gaps)."""
        return max(0, self.end - self.committed)


Revoked = Callable[[frozenset[int]], None]


class Consumer(Protocol):
    """One member of a consumer group; used from one thread only."""

    @property
    def partitions(self) -> int:
        """How many partitions the topic has, whoever reads them."""
        ...

    @property
    def assignment(self) -> frozenset[int]:
        """The partitions that this member reads now; changes only within `poll` and `close`."""
        ...

    def poll(self, limit: int, timeout: float) -> list[Record]:
        """Return up to `limit` next records of the assigned partitions, each partition in offset
        order.

        Waits up to `timeout` seconds for the first one. A partition newly assigned starts at the
        group's committed offset, or at its beginning. With `limit` 0 nothing is read, but
        membership and assignment are kept up: call it at least every few seconds, also while
        delivery is held.
        Partitions are read in turn, so that none starves. Before a partition is given away,
        `on_revoked` is called (see `Log.consume`) and may still commit it.

        Raises LogUnavailable when the log cannot be read now; the next call may succeed.
        """
        ...

    def commit(self, commits: Mapping[int, Commit]) -> None:
        """Store the group's progress. Partitions that are no longer assigned are skipped silently.

        Raises LogUnavailable; committing again later is harmless.
        """
        ...

    def committed(self, partition: int) -> Commit | None:
        """The group's progress in a partition of the assignment, None if it never committed
        there."""
        ...

    def close(self) -> None:
        """Leave the group, so that other members take over at once. `on_revoked` is called
        first."""
        ...


class Log(Protocol):
    """A durable, partitioned log. Safe to use from any thread and from every process of the
    machine."""

    def append(self, topic: str, records: Sequence[NewRecord]) -> list[tuple[int, int]]:
        """Store `records`, all or none, and return their (partition, offset) once they are durable.

        Durable: they survive a kill of any process and a power cut. Concurrent calls share the
        cost.
        Raises LogUnavailable when they could not be stored; then the sender must try again.
        """
        ...

    def consume(self, topic: str, group: str, on_revoked: Revoked) -> Consumer:
        """Join the consumer group `group` of `topic`.

        A partition belongs to one member at a time, and a dead member's partitions pass on to the
        others. `on_revoked` gets the partitions about to be given away, in the thread that polls.
        """
        ...

    def read(
        self, topic: str, partition: int, start: int, stop: int | None = None
    ) -> Iterator[Record]:
        """Iterate over the records of a partition with start ≤ offset < stop (None: to the end as
        of now).

        Outside any group; holds no lock between records, so it may take all the time it wants.
        """
        ...

    def partitions(self, topic: str) -> int:
        """How many partitions `topic` has."""
        ...

    def progress(self, topic: str, group: str) -> list[Progress]:
        """How far `group` is in every partition of `topic`; costs the same however long the
        backlog is."""
        ...

    def check(self) -> None:
        """Prove that the log can store something now. Raises LogUnavailable with the reason."""
        ...

    def trim(self, topic: str, groups: Sequence[str], older_than: float) -> int:
        """Remove some of the oldest records of `topic` and return how many were removed (0: no
        more to do).

        Only those stored before `older_than` (Unix seconds) and, when `groups` are given, finished
        by every one of them. Takes a bounded bite of work at each call, so that nobody waits for
        it.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections. Consumers are closed by their owners first."""
        ...
