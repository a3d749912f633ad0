"""The database file of the embedded log: its schema, its connections and what its errors mean."""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.log.base import LogUnavailable
from app.log.forks import ForkAware
from app.log.locks import WriteLock

VERSION = 1

# A record's position packs topic number, partition and offset into one integer of 63 bits, so that
# each partition is one stretch of the index: read and deleted as a range. The records themselves
# lie in the order in which they came: were they stored by position, every commit would rewrite a
# page or more of each partition, which makes five times as many bytes to write and to flush.
OFFSET_BITS, PARTITION_BITS = 44, 12
OFFSETS = 1 << OFFSET_BITS

SCHEMA = """
BEGIN;
CREATE TABLE topics (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    partitions INTEGER NOT NULL
);
CREATE TABLE records (
    position INTEGER NOT NULL UNIQUE,
    appended_at REAL NOT NULL, -- before the value, so that a long one need not be read for it
    key TEXT NOT NULL,
    headers BLOB NOT NULL,
    value BLOB
);
CREATE TABLE commits (
    consumer_group TEXT NOT NULL,
    topic INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition)
) WITHOUT ROWID;
CREATE TABLE probe (one INTEGER PRIMARY KEY, checked_at REAL NOT NULL);
"""

REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk reports an error; it may be full or failing",
    sqlite3.SQLITE_BUSY: "another program keeps it locked",
    sqlite3.SQLITE_READONLY: "there is no permission to write it",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check the folder and its permissions",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore it from a backup",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database",
}


def first_position(topic: int, partition: int) -> int:
    """The position of offset 0 of a partition; that of another offset is so much higher."""
    return (topic << PARTITION_BITS | partition) << OFFSET_BITS


class Connection(ForkAware):
    """A connection: opened when needed, used by one thread at a time, replaced after an error."""

    def __init__(self, path: Path, partitions: Mapping[str, int]) -> None:
        """`partitions` are those of each topic in a file that is still to be created."""
        super().__init__()
        self.path = path
        self._partitions = partitions
        self._lock = threading.Lock()
        # Made here: whatever is told of forks must not be made while a lock is held that a fork
        # waits for, as `use` does.
        self._creating = WriteLock(lock_folder(path) / "creation")
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection, in autocommit mode.

        Raises LogUnavailable for whatever fails in SQLite meanwhile.
        """
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                self._discard()
                raise unavailable(self.path, error) from error
            except BaseException:
                self._discard()
                raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for one write transaction, which an error of any kind rolls back."""
        with self.use() as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")

    def close(self) -> None:
        """Close it; the next use opens it again."""
        with self._lock:
            self._discard()

    def before_fork(self) -> None:
        """Wait for the thread that uses it, then close it, so that no child inherits it."""
        self._lock.acquire()
        self._discard()

    def after_fork(self, in_child: bool) -> None:
        """Allow its use again."""
        self._lock.release()

    def _discard(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(
            self.path,
            timeout=10.0,  # the last resort: writers wait for each other at the write lock
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._prepare(database)
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        if _version(database) != VERSION:
            create(database, self.path, self._partitions, self._creating)
        _flush_names(self.path.parent)
        for setting in (
            # A commit survives a kill; it survives a power cut once `flush` has been called.
            "synchronous = NORMAL",
            "fullfsync = 1",  # macOS: see _flush
            "journal_size_limit = 67108864",
            "secure_delete = FAST",  # the full form, some systems' default, writes all again
        ):
            database.execute(f"PRAGMA {setting}")


def flush(path: Path) -> None:
    """Make all that was committed survive a power cut: what `synchronous = FULL` does at a commit.

    Here it is done outside of the transaction, so that others write while the disk is busy. SQLite
    keeps the file consistent by itself, and flushes what it moves out of the write-ahead log.

    Raises LogUnavailable; what was committed may then be lost, or not.
    """
    try:
        log = os.open(f"{path}-wal", os.O_RDWR | os.O_CLOEXEC)
        try:
            _flush(log)
        finally:
            os.close(log)
    except OSError as error:
        raise unavailable(path, error) from error


def _flush(file: int) -> None:
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync alone does not survive a power cut there
        fcntl.fcntl(file, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(file)


def _flush_names(folder: Path) -> None:
    """Make the names of the files in a folder durable: a flushed file without a name is lost."""
    names = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(names)
    finally:
        os.close(names)


def create(
    database: sqlite3.Connection, path: Path, partitions: Mapping[str, int], creating: WriteLock
) -> None:
    """Create the tables unless another process, which would have held `creating`, just did.

    Raises LogUnavailable for a file that is something else.
    """
    try:
        with creating:
            if (version := _version(database)) == VERSION:
                return
            if version or database.execute("SELECT 1 FROM sqlite_schema").fetchone():
                raise LogUnavailable(
                    f"{path}: not a log of this version of the bridge; "
                    "name another file in BRIDGE_LOG"
                )
            database.execute("PRAGMA page_size = 4096")
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(SCHEMA)
            database.executemany(
                "INSERT INTO topics (name, partitions) VALUES (?, ?)", partitions.items()
            )
            database.execute(f"PRAGMA user_version = {VERSION}")
            database.execute("COMMIT")
    finally:
        creating.close()


def _version(database: sqlite3.Connection) -> int:
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    return version


def lock_folder(path: Path) -> Path:
    """Where the lock files of a database are."""
    return path.with_name(f"{path.name}-locks")


def unavailable(path: Path, error: sqlite3.Error | OSError) -> LogUnavailable:
    """Say what is wrong with the file in words that help."""
    code = getattr(error, "sqlite_errorcode", None)
    reason = REASONS.get(code & 0xFF) if code is not None else None
    return LogUnavailable(
        f"the log {path} cannot be used: {f'{reason} ({error})' if reason else error}"
    )
