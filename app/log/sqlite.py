"""The embedded log engine: one SQLite file that any number of processes of one machine share."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from sqlite3 import Connection as Database
from urllib.parse import quote

import orjson

from app.log import sqlite_records as statements
from app.log.base import Commit, NewRecord, Progress, Record, Revoked
from app.log.group_commit import Entry, GroupCommit
from app.log.locks import Membership, WriteLock
from app.log.partitions import PARTITIONS, partition_for
from app.log.sqlite_consumer import SqliteConsumer
from app.log.sqlite_file import Connection, flush, lock_folder, unavailable
from app.log.sqlite_records import Topic


class SqliteLog:
    """The log in the file at `path`; see `app.log.base.Log` for what it does.

    `partitions` holds for a file that is still to be created. `clock` tells Unix seconds,
    `monotonic` seconds since anything, `sleep` waits.
    """

    def __init__(
        self,
        path: str | Path,
        partitions: Mapping[str, int] = PARTITIONS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = Path(path).absolute()
        self._clock, self._monotonic, self._sleep = clock, monotonic, sleep
        self._new_partitions = partitions
        self._writing = WriteLock(lock_folder(self._path))
        self._changing = self._connection()
        self._reading = self._connection()
        self._appends = GroupCommit(self._store, self._flush)
        self._topics: dict[str, Topic] = {}

    def append(self, topic: str, records: Sequence[NewRecord]) -> list[tuple[int, int]]:
        """See `Log.append`. Raises UnicodeEncodeError for a key that UTF-8 cannot express.

        When the disk fails in the last step, the records may be stored all the same.
        """
        if not records:
            return []
        found = self._topic(topic)
        partitions = [partition_for(record.key, found.partitions) for record in records]
        firsts = [found.first(partition) for partition in range(found.partitions)]
        rows = [
            (firsts[partition], record.key, orjson.dumps(record.headers), record.value)
            for partition, record in zip(partitions, records, strict=True)
        ]
        entry = Entry(rows)
        self._appends.store(entry)
        return [
            (partition, position - firsts[partition])
            for partition, position in zip(partitions, entry.positions, strict=True)
        ]

    def consume(self, topic: str, group: str, on_revoked: Revoked) -> SqliteConsumer:
        """See `Log.consume`. Raises LogUnavailable when the log cannot be opened."""
        found = self._topic(topic)
        # The prefix keeps names such as `..` out of the path.
        folder = lock_folder(self._path) / f"group.{quote(topic, safe='')}.{quote(group, safe='')}"
        return SqliteConsumer(
            topic=found,
            group=group,
            on_revoked=on_revoked,
            connection=self._connection(),
            membership=Membership(folder, found.partitions),
            store=self._store_commits,
            monotonic=self._monotonic,
            sleep=self._sleep,
        )

    def read(
        self, topic: str, partition: int, start: int, stop: int | None = None
    ) -> Iterator[Record]:
        """See `Log.read`. Raises LogUnavailable, also on the way."""
        found = self._topic(topic)
        if stop is None:
            first = found.first(partition)
            with self._reading.use() as database:
                stop = statements.ends(database, [first])[first] - first
        return self._read(found, partition, start, stop)

    def partitions(self, topic: str) -> int:
        """See `Log.partitions`. Raises LogUnavailable when the log cannot be opened."""
        return self._topic(topic).partitions

    def progress(self, topic: str, group: str) -> list[Progress]:
        """See `Log.progress`. Raises LogUnavailable when the log cannot be read."""
        found = self._topic(topic)
        with self._reading.use() as database:
            database.execute("BEGIN")  # so that all is seen as of one moment
            result = [
                statements.progress(database, found, group, partition)
                for partition in range(found.partitions)
            ]
            database.execute("COMMIT")
        return result

    def check(self) -> None:
        """See `Log.check`: commits one tiny row, as durably as a record."""
        with self._write() as database:
            database.execute("INSERT OR REPLACE INTO probe VALUES (1, ?)", (self._clock(),))
        self._flush()

    def trim(self, topic: str, groups: Sequence[str], older_than: float) -> int:
        """See `Log.trim`. The file does not shrink; what is freed in it is used for new records."""
        found = self._topic(topic)
        with self._reading.use() as database:
            ranges = list(statements.removable(database, found, groups, older_than))
        if not ranges:
            return 0
        # A lost trim, or commit of a consumer, only repeats work, so neither is flushed.
        with self._write() as database:
            delete = "DELETE FROM records WHERE position BETWEEN ? AND ?"
            return sum(database.execute(delete, ends).rowcount for ends in ranges)

    def close(self) -> None:
        """See `Log.close`. A log that is used again afterwards opens its file again."""
        for connection in (self._changing, self._reading):
            connection.close()
        self._writing.close()

    def _connection(self) -> Connection:
        return Connection(self._path, self._new_partitions)

    def _topic(self, name: str) -> Topic:
        if not self._topics:
            with self._reading.use() as database:
                rows = database.execute("SELECT number, name, partitions FROM topics")
                self._topics = {row[1]: Topic(*row) for row in rows}
        try:
            return self._topics[name]
        except KeyError:
            raise ValueError(f"unknown topic {name!r}; there are {sorted(self._topics)}") from None

    @contextmanager
    def _write(self) -> Iterator[Database]:
        """One write transaction, in turn with all other writers of the machine."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self._writing)
            except OSError as error:
                raise unavailable(self._path, error) from error
            yield stack.enter_context(self._changing.transaction())

    def _flush(self) -> None:
        flush(self._path)

    def _store(self, take: Callable[[], Sequence[Entry]]) -> None:
        with self._write() as database:
            entries = take()
            firsts = {row[0] for entry in entries for row in entry.rows}
            free = statements.ends(database, sorted(firsts))
            now = self._clock()
            values: list[tuple[object, ...]] = []
            for entry in entries:
                for first, key, headers, value in entry.rows:
                    position = free[first]
                    free[first] = position + 1
                    entry.positions.append(position)
                    values.append((position, now, key, headers, value))
            for start in range(0, len(values), statements.CHUNK):
                chunk = values[start : start + statements.CHUNK]
                database.execute(statements.insert(len(chunk)), list(chain.from_iterable(chunk)))

    def _store_commits(self, topic: Topic, group: str, commits: Mapping[int, Commit]) -> None:
        with self._write() as database:
            database.executemany(
                "INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?, ?)",
                [
                    (group, topic.number, partition, commit.offset, commit.metadata)
                    for partition, commit in commits.items()
                ],
            )

    def _read(self, topic: Topic, partition: int, start: int, stop: int) -> Iterator[Record]:
        while True:
            with self._reading.use() as database:
                records = statements.fetch(database, topic, partition, start, stop, stop)
            if not records:
                return
            yield from records
            start = records[-1].offset + 1
