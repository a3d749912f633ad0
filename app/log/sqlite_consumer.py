"""A member of a consumer group of the embedded log."""

from collections import deque
from collections.abc import Callable, Mapping
from sqlite3 import Connection as Database

from app.log.base import Commit, Record, Revoked
from app.log.locks import Membership
from app.log.sqlite_file import OFFSETS, Connection, unavailable
from app.log.sqlite_records import CHUNK_BYTES, Topic, committed, fetch

MEMBERSHIP_EVERY = 0.5  # seconds between looks at who else is there
SHORTEST_WAIT, LONGEST_WAIT = 0.001, 0.02  # seconds between looks for new records
LONGEST_METADATA = 4000  # bytes


class SqliteConsumer:
    """See `app.log.base.Consumer`. It belongs to the process that made it, not to a fork of it."""

    def __init__(
        self,
        topic: Topic,
        group: str,
        on_revoked: Revoked,
        connection: Connection,
        membership: Membership,
        store: Callable[[Topic, str, Mapping[int, Commit]], None],
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._topic = topic
        self._group = group
        self._on_revoked = on_revoked
        self._connection = connection
        self._membership = membership
        self._store = store
        self._monotonic = monotonic
        self._sleep = sleep
        self._next_look = monotonic()
        self._turns: deque[int] = deque()
        self._positions: dict[int, int] = {}
        # The connection and its data_version when nothing was left: until it changes, nothing is.
        self._drained: tuple[Database, int] | None = None

    @property
    def partitions(self) -> int:
        """See `Consumer.partitions`."""
        return self._topic.partitions

    @property
    def assignment(self) -> frozenset[int]:
        """See `Consumer.assignment`."""
        return self._membership.held

    def poll(self, limit: int, timeout: float) -> list[Record]:
        """See `Consumer.poll`. With `limit` 0 it waits for `timeout` all the same."""
        deadline = self._monotonic() + timeout
        wait = SHORTEST_WAIT
        while True:
            self._keep_membership()
            records = self._read(limit) if limit > 0 and self._turns else []
            left = deadline - self._monotonic()
            if records or left <= 0:
                return records
            self._sleep(min(wait, left))
            wait = min(wait * 2, LONGEST_WAIT)

    def commit(self, commits: Mapping[int, Commit]) -> None:
        """See `Consumer.commit`. Raises ValueError for metadata of more than 4,000 bytes."""
        for commit in commits.values():
            if len(commit.metadata.encode()) > LONGEST_METADATA:
                raise ValueError(f"commit metadata is longer than {LONGEST_METADATA} bytes")
        held = {number: commits[number] for number in commits if number in self.assignment}
        if held:
            self._store(self._topic, self._group, held)

    def committed(self, partition: int) -> Commit | None:
        """See `Consumer.committed`."""
        with self._connection.use() as database:
            return committed(database, self._topic, self._group, partition)

    def close(self) -> None:
        """See `Consumer.close`."""
        try:
            if self.assignment:
                self._on_revoked(self.assignment)
        finally:
            self._membership.leave()
            self._assigned()
            self._connection.close()

    def _keep_membership(self) -> None:
        """Now and then: give away what is over the fair share, take what is free up to it."""
        now = self._monotonic()
        if now < self._next_look:
            return
        self._next_look = now + MEMBERSHIP_EVERY
        before = self.assignment
        try:
            self._membership.join()
            share = self._membership.share()
            if surplus := self._membership.surplus(share):
                self._on_revoked(surplus)
                self._membership.release(surplus)
            self._membership.take(share)
        except OSError as error:
            raise unavailable(self._connection.path, error) from error
        finally:
            if self.assignment != before:
                self._assigned()

    def _assigned(self) -> None:
        """Start anew in what is new, and forget what is gone."""
        held = self.assignment
        self._turns = deque(sorted(held))
        self._positions = {n: offset for n, offset in self._positions.items() if n in held}
        self._drained = None

    def _read(self, limit: int) -> list[Record]:
        """Read the partitions in turn up to `limit` records, or enough bytes, or their ends."""
        with self._connection.use() as database:
            seen = (database, database.execute("PRAGMA data_version").fetchone()[0])
            if seen == self._drained:
                return []
            positions = {number: self._position(database, number) for number in self._turns}
            records: list[Record] = []
            size = empty = 0
            while len(records) < limit and size < CHUNK_BYTES and empty < len(self._turns):
                partition = self._turns[0]
                self._turns.rotate(-1)
                room = limit - len(records)
                found = fetch(database, self._topic, partition, positions[partition], OFFSETS, room)
                empty = 0 if found else empty + 1
                size += sum(len(record.value or b"") for record in found)
                records += found
                if found:
                    positions[partition] = found[-1].offset + 1
        # Only now, so that an error on the way loses nothing that was read before it.
        self._positions = positions
        self._drained = seen if empty == len(self._turns) else None
        return records

    def _position(self, database: Database, partition: int) -> int:
        if partition in self._positions:
            return self._positions[partition]
        progress = committed(database, self._topic, self._group, partition)
        return progress.offset if progress else 0
