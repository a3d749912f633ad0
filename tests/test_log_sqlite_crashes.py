"""The embedded log under kill -9, forks and a disk that fills up, with real processes."""

import multiprocessing
import os
import resource
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import count
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import pytest

from app.log import open_log
from app.log.base import RECEIPTS, SEGMENT_CALLS, LogUnavailable
from app.log.sqlite import SqliteLog
from tests.log_engines import ignore, new, numbered, spawn


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteLog]:
    with closing(SqliteLog(path)) as opened:
        yield opened


def is_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as database:
        return bool(database.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def fill_the_disk(url: str, pipe: Pipe) -> None:
    """Append until no file may grow any more, then get room again."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024, resource.RLIM_INFINITY))
    stored: list[int] = []
    refused = 0
    with closing(open_log(url)) as log:

        def append(number: int) -> bool:
            try:
                log.append(RECEIPTS, [new("u", b"%d %s" % (number, b"x" * 20_000))])
            except LogUnavailable:
                return False
            stored.append(number)
            return True

        for number in range(400):
            refused += not append(number)
        reason = ""
        for _ in range(400):
            try:
                log.check()
            except LogUnavailable as error:
                reason = str(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        log.check()
        after = [append(number) for number in range(400, 410)]
        pipe.send((stored, refused, reason, after))


def test_recovers_by_itself_when_the_disk_has_room_again(path: Path, log: SqliteLog) -> None:
    here, there = spawn.Pipe()
    process = spawn.Process(target=fill_the_disk, args=(f"sqlite:///{path}", there))
    process.start()
    stored, refused, reason, after = here.recv()
    process.join()
    process.close()
    assert refused > 0
    assert "the disk reports an error; it may be full" in reason
    assert after == [True] * 10
    found = [int((record.value or b"").split()[0]) for record in log.read(RECEIPTS, 0, 0)]
    assert found == stored
    assert is_sound(path)


def append_until_killed(url: str, pipe: Pipe) -> None:
    log = open_log(url)

    def work(thread: int) -> None:
        for number in count():
            records = [new(f"u{thread}", b"%d-%d-%d" % (os.getpid(), thread, number))] * 3
            places = log.append(SEGMENT_CALLS, records)
            with sending:
                pipe.send(
                    [(*place, record.value) for place, record in zip(places, records, strict=True)]
                )

    sending = threading.Lock()
    for number in range(4):
        threading.Thread(target=work, args=(number,)).start()


def test_what_was_acknowledged_survives_a_kill(path: Path, log: SqliteLog) -> None:
    acknowledged: list[tuple[int, int, bytes]] = []
    for round_number in range(3):
        here, there = spawn.Pipe(duplex=False)
        process = spawn.Process(target=append_until_killed, args=(f"sqlite:///{path}", there))
        process.start()
        there.close()
        for _ in range(30 + 7 * round_number):
            acknowledged += here.recv()
        process.kill()
        process.join()
        with suppress(EOFError, OSError):  # killed in the middle of telling us
            while here.poll():
                acknowledged += here.recv()
        process.close()
        here.close()
    stored = {
        (record.partition, record.offset): record.value
        for partition in range(log.partitions(SEGMENT_CALLS))
        for record in log.read(SEGMENT_CALLS, partition, 0)
    }
    assert len(acknowledged) > 270
    assert all(stored[partition, offset] == value for partition, offset, value in acknowledged)
    assert len(stored) % 3 == 0  # an append of three is stored whole or not at all
    assert is_sound(path)


def fork_after_use(url: str, pipe: Pipe) -> None:
    """Use everything, fork, and go on in both processes; the child outlives this one."""
    log = open_log(url)
    log.append(SEGMENT_CALLS, [new("before", b"1")])
    consumer = log.consume(SEGMENT_CALLS, "g", ignore)
    consumer.poll(10, 1.0)
    child = os.fork()
    for number in range(10):
        log.append(SEGMENT_CALLS, numbered("parent" if child else "child", [number]))
    if child:
        os.waitpid(child, os.WUNTRACED)  # the child stops itself when it is done
        os.kill(child, signal.SIGCONT)
        pipe.send((child, len(consumer.poll(100, 1.0))))
    else:
        os.kill(os.getpid(), signal.SIGSTOP)
    signal.pause()


def test_a_log_that_was_used_works_on_both_sides_of_a_fork(path: Path, log: SqliteLog) -> None:
    here, there = spawn.Pipe()
    process = spawn.Process(target=fork_after_use, args=(f"sqlite:///{path}", there))
    process.start()
    child, polled = here.recv()
    process.kill()
    process.join()
    process.close()
    try:
        with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as consumer:
            records = consumer.poll(100, 5.0)
            # The dead parent's partitions are free, although its child lives on.
            assert consumer.assignment == frozenset(range(consumer.partitions))
    finally:
        os.kill(child, signal.SIGKILL)
    ten = [b"%d" % number for number in range(10)]
    assert polled == 20
    assert [record.value for record in records if record.key == "parent"] == ten
    assert [record.value for record in records if record.key == "child"] == ten
    assert is_sound(path)


def append_five(log: SqliteLog, name: str) -> None:
    for number in range(5):
        log.append(SEGMENT_CALLS, numbered(name, [number]))


def fork_under_load(url: str) -> None:
    """Fork again and again while threads append; the children use what they inherited."""
    log = SqliteLog(url.removeprefix("sqlite:///"))
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            log.append(RECEIPTS, [new("load")])

    fork = multiprocessing.get_context("fork")
    threads = [threading.Thread(target=work) for _ in range(4)]
    children = [fork.Process(target=append_five, args=(log, f"child-{n}")) for n in range(6)]
    for one in threads + children:
        one.start()
    for child in children:
        child.join()
    stop.set()
    for thread in threads:
        thread.join()
    log.close()


def test_forks_amid_appends_harm_neither_side(path: Path, log: SqliteLog) -> None:
    process = spawn.Process(target=fork_under_load, args=(f"sqlite:///{path}",))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    process.close()
    stored = [
        (record.key, record.value)
        for partition in range(log.partitions(SEGMENT_CALLS))
        for record in log.read(SEGMENT_CALLS, partition, 0)
    ]
    assert sorted(stored) == [
        (f"child-{n}", b"%d" % number) for n in range(6) for number in range(5)
    ]
    assert is_sound(path)
