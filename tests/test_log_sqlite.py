"""What is particular to the embedded log: its file, group commit, errors and trim."""

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from app.log import open_log
from app.log.base import RECEIPTS, SEGMENT_CALLS, Commit, LogUnavailable, NewRecord
from app.log.group_commit import Entry, GroupCommit
from app.log.locks import WriteLock
from app.log.partitions import partition_for
from app.log.sqlite import SqliteLog
from app.log.sqlite_file import lock_folder
from tests.log_engines import ignore, new, numbered, spawn

ALWAYS = 1e12  # later than any record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteLog]:
    with closing(SqliteLog(path)) as opened:
        yield opened


def values(log: SqliteLog, topic: str = RECEIPTS, partition: int = 0) -> list[bytes | None]:
    return [record.value for record in log.read(topic, partition, 0)]


# --- the URL and the file


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite://", "sqlite://host", "kafak://x/y", "x.db"])
def test_refuses_a_url_that_names_no_log(url: str) -> None:
    with pytest.raises(ValueError, match=r"BRIDGE_LOG.* sqlite:///PATH"):
        open_log(url)


def test_three_slashes_are_a_path_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(open_log("sqlite:///var/deep/bridge.db")) as log:
        assert not (tmp_path / "var").exists()  # opening costs nothing yet
        monkeypatch.chdir("/")
        log.check()
    assert (tmp_path / "var/deep/bridge.db").is_file()


def test_a_key_has_the_same_partition_for_ever() -> None:
    # The check value of CRC-32 itself, then what files out there already hold.
    assert partition_for("123456789", 2**32) == 0xCBF43926
    assert [partition_for(key, 16) for key in ("", "u1", "Zoë")] == [0, 6, 10]


def test_the_partition_count_in_the_file_wins(path: Path) -> None:
    with closing(SqliteLog(path, partitions={SEGMENT_CALLS: 4})) as first:
        first.append(SEGMENT_CALLS, [new("u")])
    with closing(SqliteLog(path)) as second:
        assert second.partitions(SEGMENT_CALLS) == 4


def test_names_an_unknown_topic(log: SqliteLog) -> None:
    with pytest.raises(ValueError, match=r"unknown topic 'nope'; there are .*segment\.calls"):
        log.append("nope", [new("u")])


def test_what_is_appended_is_flushed_to_the_disk_before_it_is_acknowledged(
    path: Path, log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.check()
    flushed: list[bool] = []

    def look(file: int) -> None:
        assert os.path.samestat(os.fstat(file), os.stat(f"{path}-wal"))
        flushed.append(b"precious" in Path(f"{path}-wal").read_bytes())

    monkeypatch.setattr("app.log.sqlite_file._flush", look)
    log.append(RECEIPTS, [new("u", b"precious")])
    assert flushed == [True]


def test_a_disk_that_fails_to_flush_is_told_and_works_again_afterwards(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    log.check()
    with monkeypatch.context() as patch:
        patch.setattr("app.log.sqlite_file._flush", fail)
        for use in (log.check, lambda: log.append(RECEIPTS, [new("u")])):
            with pytest.raises(LogUnavailable, match="Input/output error"):
                use()
    log.append(RECEIPTS, [new("u", b"after")])
    assert values(log)[-1] == b"after"


def test_the_file_is_in_wal_mode(log: SqliteLog) -> None:
    with log._changing.use() as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("PRAGMA page_size").fetchone() == (4096,)


def some_text(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to look at " * 50)


def foreign_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE people (name TEXT)")


def newer_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 999")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (some_text, "not an SQLite database"),
        (foreign_tables, "name another file in BRIDGE_LOG"),
        (newer_version, "name another file in BRIDGE_LOG"),
        (Path.mkdir, "check the folder and its permissions"),
    ],
)
def test_says_what_is_wrong_with_a_file(
    path: Path, log: SqliteLog, make: Callable[[Path], None], reason: str
) -> None:
    make(path)
    with pytest.raises(LogUnavailable, match=reason):
        log.check()


def create_and_append(url: str, barrier: "threading.Barrier") -> None:
    with closing(open_log(url)) as log:
        barrier.wait()
        log.append(RECEIPTS, [new("u", b"x")])


def test_several_processes_may_create_the_file_at_once(path: Path, log: SqliteLog) -> None:
    barrier = spawn.Barrier(4)
    processes = [
        spawn.Process(target=create_and_append, args=(f"sqlite:///{path}", barrier))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
        process.close()
    assert values(log) == [b"x"] * 4


def test_a_closed_log_opens_again_when_it_is_used(log: SqliteLog) -> None:
    log.append(RECEIPTS, [new("u", b"1")])
    log.close()
    log.append(RECEIPTS, [new("u", b"2")])
    assert values(log) == [b"1", b"2"]


# --- group commit


def test_appends_that_come_during_a_commit_share_the_next_one(path: Path) -> None:
    transactions = count(1)
    log = SqliteLog(path, clock=lambda: float(next(transactions)))
    log.append(RECEIPTS, [new("u", b"first")])
    threads = [
        threading.Thread(target=log.append, args=(RECEIPTS, numbered("u", [n]))) for n in range(8)
    ]
    other_process = WriteLock(lock_folder(path))
    with other_process:
        for thread in threads:
            thread.start()
        while len(log._appends._queue) < len(threads):
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    other_process.close()
    stored = [record.appended_at for record in log.read(RECEIPTS, 0, 0)]
    log.close()
    assert stored == [1.0] + [2.0] * 8


def test_a_key_that_cannot_be_stored_fails_alone(log: SqliteLog) -> None:
    with pytest.raises(UnicodeEncodeError):
        log.append(RECEIPTS, [NewRecord("\ud800", b"{}", {})])
    assert log.append(RECEIPTS, [new("u")]) == [(0, 0)]


def test_a_failed_commit_fails_all_who_shared_it() -> None:
    together = threading.Barrier(2)
    failed: list[str] = []

    def commit(take: Callable[[], object]) -> None:
        together.wait()  # the leader is here; the other one comes meanwhile
        while len(group._queue) < 2:
            time.sleep(0.001)
        take()
        raise LogUnavailable("the disk is full")

    def store() -> None:
        try:
            group.store(Entry([]))
        except LogUnavailable as error:
            failed.append(str(error))

    group = GroupCommit(commit, flush=lambda: None)
    threads = [threading.Thread(target=store) for _ in range(2)]
    threads[0].start()
    together.wait()
    threads[1].start()
    for thread in threads:
        thread.join()
    assert failed == ["the disk is full"] * 2


def test_the_next_commit_does_not_wait_for_the_disk() -> None:
    disk = threading.Event()
    flushing: list[int] = []

    def flush() -> None:
        flushing.append(len(flushing))
        if len(flushing) == 1:
            assert disk.wait(10)
        disk.set()

    def commit(take: Callable[[], object]) -> None:
        take()

    group = GroupCommit(commit, flush)
    first = threading.Thread(target=group.store, args=[Entry([])])
    first.start()
    while not flushing:
        time.sleep(0.001)
    group.store(Entry([]))
    first.join()
    assert flushing == [0, 1]


def test_an_interrupted_commit_leaves_nobody_waiting() -> None:
    interrupt = [True]

    def commit(take: Callable[[], object]) -> None:
        take()
        if interrupt.pop():
            raise KeyboardInterrupt

    group = GroupCommit(commit, flush=lambda: None)
    with pytest.raises(KeyboardInterrupt):
        group.store(Entry([]))
    interrupt.append(False)
    entry = Entry([])
    group.store(entry)
    assert entry.settled


# --- disk full, errors


def test_a_full_disk_is_said_and_nothing_of_the_append_is_stored(log: SqliteLog) -> None:
    log.append(RECEIPTS, [new("u", b"before")])
    with log._changing.use() as database:
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(LogUnavailable, match="the disk is full"):
        log.append(RECEIPTS, [new("u", b"small"), new("u", b"x" * 100_000)])
    log.append(RECEIPTS, [new("u", b"after")])
    assert values(log) == [b"before", b"after"]


def test_poll_loses_nothing_to_an_error(path: Path, log: SqliteLog) -> None:
    log.append(RECEIPTS, numbered("u", range(3)))
    with closing(log.consume(RECEIPTS, "g", ignore)) as consumer:
        assert len(consumer.poll(1, 1.0)) == 1
        with log._changing.transaction() as database:
            database.execute("ALTER TABLE records RENAME TO hidden")
        with pytest.raises(LogUnavailable, match="no such table"):
            consumer.poll(10, 1.0)
        with log._changing.transaction() as database:
            database.execute("ALTER TABLE hidden RENAME TO records")
        assert [record.value for record in consumer.poll(10, 1.0)] == [b"1", b"2"]


def test_lock_files_that_cannot_be_made_are_an_unavailable_log(path: Path, log: SqliteLog) -> None:
    log.append(RECEIPTS, [new("u")])
    log.close()
    consumer = log.consume(RECEIPTS, "g", ignore)
    for file in sorted(lock_folder(path).rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    lock_folder(path).rmdir()
    lock_folder(path).write_text("in the way")
    uses: list[Callable[[], object]] = [
        log.check,
        lambda: log.append(RECEIPTS, [new("u")]),
        lambda: consumer.poll(1, 0.0),
    ]
    for use in uses:
        with pytest.raises(LogUnavailable, match=r"bridge\.db"):
            use()
    consumer.close()


# --- trim


def test_trim_removes_what_is_old_but_the_newest_and_offsets_go_on(path: Path) -> None:
    clock = count()
    log = SqliteLog(path, clock=lambda: float(next(clock)))
    for number in range(5):
        log.append(RECEIPTS, numbered("u", [number]))
    assert log.trim(RECEIPTS, [], older_than=2.0) == 2
    assert values(log) == [b"2", b"3", b"4"]
    assert log.trim(RECEIPTS, [], ALWAYS) == 2
    assert log.trim(RECEIPTS, [], ALWAYS) == 0
    assert log.append(RECEIPTS, numbered("u", [5])) == [(0, 5)]
    [progress] = log.progress(RECEIPTS, "g")
    assert (progress.committed, progress.end, progress.oldest_waiting) == (4, 6, 4.0)
    log.close()


def test_trim_waits_for_a_group_that_never_committed(log: SqliteLog) -> None:
    log.append(RECEIPTS, numbered("u", range(5)))
    with closing(log.consume(RECEIPTS, "one", ignore)) as consumer:
        consumer.poll(0, 0.0)
        consumer.commit({0: Commit(3)})
    assert log.trim(RECEIPTS, ["one", "two"], ALWAYS) == 0
    assert log.trim(RECEIPTS, ["one"], ALWAYS) == 3
    assert values(log) == [b"3", b"4"]


@pytest.mark.parametrize(("size", "records", "bite"), [(10, 200, 125), (1024 * 1024, 8, 4)])
def test_trim_takes_a_bounded_bite(log: SqliteLog, size: int, records: int, bite: int) -> None:
    log.append(SEGMENT_CALLS, [new("u", bytes(size))] * records)
    assert log.trim(SEGMENT_CALLS, [], ALWAYS) == bite
    assert log.trim(SEGMENT_CALLS, [], ALWAYS) == records - bite - 1


def test_trimmed_room_is_used_again(path: Path, log: SqliteLog) -> None:
    def turn_over() -> int:
        for _ in range(5):
            log.append(RECEIPTS, [new("u", bytes(1000))] * 200)
            log.trim(RECEIPTS, [], ALWAYS)
        with log._reading.use() as database:
            return int(database.execute("PRAGMA page_count").fetchone()[0])

    assert turn_over() >= turn_over()
