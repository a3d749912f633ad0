"""The statements on records: where a partition ends, what is in it, and what may leave it."""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import orjson

from app.log.base import Commit, Progress, Record
from app.log.sqlite_file import OFFSETS, first_position

CHUNK = 100  # records, and
CHUNK_BYTES = 4 * 1024 * 1024  # bytes, that one look into the file returns
TRIM_RECORDS = 1000  # records, and
TRIM_BYTES = 4 * 1024 * 1024  # bytes, that one trim removes: a few ms of work

# All in one row: every step of SQLite lets go of the interpreter's lock, and getting it back takes
# long in a busy web server.
ENDS = f"""
SELECT json_group_array(coalesce(1 + (
    SELECT position FROM records WHERE position BETWEEN first.value AND first.value + {OFFSETS - 1}
    ORDER BY position DESC LIMIT 1), first.value))
FROM json_each(?) AS first
"""  # noqa: S608 (the only thing put in is a constant)

SELECT = """
SELECT position, appended_at, key, headers, value FROM records
WHERE position >= ? AND position < ? ORDER BY position LIMIT ?
"""

COMMITTED = """
SELECT next_offset, metadata FROM commits
WHERE consumer_group = ? AND topic = ? AND partition = ?
"""

OLDEST = """
SELECT position, appended_at FROM records
WHERE position >= ? AND position < ? ORDER BY position LIMIT 1
"""

FINISHED = """
SELECT count(*), min(next_offset) FROM commits WHERE topic = ? AND partition = ?
AND consumer_group IN (SELECT value FROM json_each(?))
"""

REMOVABLE = """
SELECT position, appended_at, length(key) + length(headers) + coalesce(length(value), 0)
FROM records WHERE position >= ? AND position < ? ORDER BY position LIMIT ?
"""


class Topic(NamedTuple):
    """A topic as the file has it."""

    number: int
    name: str
    partitions: int

    def first(self, partition: int) -> int:
        """The position of a partition's offset 0."""
        return first_position(self.number, partition)


@cache
def insert(count: int) -> str:
    """The statement that stores `count` records in one step."""
    return f"INSERT INTO records VALUES {', '.join(['(?, ?, ?, ?, ?)'] * count)}"  # noqa: S608


def ends(database: sqlite3.Connection, firsts: Sequence[int]) -> dict[int, int]:
    """The next free position of each partition, by its first one.

    It follows from the newest record, which trim therefore never removes.
    """
    found = database.execute(ENDS, (orjson.dumps(firsts).decode(),)).fetchone()[0]
    return dict(zip(firsts, orjson.loads(found), strict=True))


def fetch(
    database: sqlite3.Connection, topic: Topic, partition: int, start: int, stop: int, limit: int
) -> list[Record]:
    """Return the next few records with start ≤ offset < stop; none only when there are none."""
    first = topic.first(partition)
    cursor = database.execute(SELECT, (first + start, first + stop, min(limit, CHUNK)))
    records, size = [], 0
    for position, appended_at, key, headers, value in cursor:
        offset, known = position - first, orjson.loads(headers)
        records.append(Record(topic.name, partition, offset, key, value, known, appended_at))
        size += len(value or b"")
        if size >= CHUNK_BYTES:
            break
    cursor.close()
    return records


def committed(
    database: sqlite3.Connection, topic: Topic, group: str, partition: int
) -> Commit | None:
    """A group's progress in a partition, None when it never committed there."""
    found = database.execute(COMMITTED, (group, topic.number, partition)).fetchone()
    return Commit(*found) if found else None


def progress(database: sqlite3.Connection, topic: Topic, group: str, partition: int) -> Progress:
    """How far a group is: three look-ups, however many records wait."""
    first = topic.first(partition)
    end = ends(database, [first])[first]
    done = committed(database, topic, group, partition)
    oldest = database.execute(OLDEST, (first + (done.offset if done else 0), end)).fetchone()
    position, appended_at = oldest or (end, None)
    if done is None:  # it would start at the oldest record there is
        done = Commit(position - first)
    return Progress(partition, done.offset, end - first, done.metadata, appended_at)


def removable(
    database: sqlite3.Connection, topic: Topic, groups: Sequence[str], older_than: float
) -> Iterator[tuple[int, int]]:
    """The first and last positions of what to remove, together a bite of work.

    A like part of it from each partition: what came at the same time lies in the same pages.
    """
    names = orjson.dumps(sorted(set(groups))).decode()
    size = TRIM_BYTES
    for partition in range(topic.partitions):
        room = TRIM_RECORDS // topic.partitions
        first = topic.first(partition)
        stop = ends(database, [first])[first] - 1
        if groups:
            count, finished = database.execute(
                FINISHED, (topic.number, partition, names)
            ).fetchone()
            stop = min(stop, first + finished) if count == len(set(groups)) else first
        last = None
        for position, appended_at, length in database.execute(REMOVABLE, (first, stop, room)):
            if appended_at >= older_than or size <= 0:
                break
            last, size = position, size - length
        if last is not None:
            yield first, last
