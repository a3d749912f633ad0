"""How members of a group of the embedded log share its partitions and poll."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.log.base import DEAD_LETTERS, RECEIPTS, SEGMENT_CALLS, Commit
from app.log.sqlite import SqliteLog
from app.log.sqlite_consumer import SqliteConsumer
from tests.log_engines import ignore, new


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteLog]:
    with closing(SqliteLog(path)) as opened:
        yield opened


class Time:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def settle(clock: Time, *consumers: SqliteConsumer) -> list[int]:
    """Let everybody look around twice; return how many partitions each holds."""
    for _ in range(2):
        clock.now += 0.5
        for consumer in consumers:
            consumer.poll(0, 0.0)
    return [len(consumer.assignment) for consumer in consumers]


def test_members_come_to_fair_shares_within_two_looks(path: Path) -> None:
    clock = Time()
    log = SqliteLog(path, monotonic=clock, sleep=clock.sleep)
    members: list[SqliteConsumer] = []
    expected = [[8], [4, 4], [3, 3, 2], [2, 2, 2, 2], [2, 2, 2, 1, 1]]
    for shares in expected:
        members.append(log.consume(SEGMENT_CALLS, "g", ignore))
        assert settle(clock, *members) == shares
    for shares in reversed(expected[:-1]):
        members.pop(0).close()
        assert settle(clock, *members) == shares
    members.pop().close()
    log.close()


def test_more_members_than_partitions_wait_for_a_seat(path: Path) -> None:
    clock = Time()
    log = SqliteLog(path, monotonic=clock, sleep=clock.sleep)
    with (
        closing(log),
        closing(log.consume(DEAD_LETTERS, "g", ignore)) as first,
        closing(log.consume(DEAD_LETTERS, "g", ignore)) as second,
    ):
        assert settle(clock, first, second) == [1, 0]
        first.close()
        assert settle(clock, second) == [1]


def test_looks_for_other_members_twice_a_second_only(path: Path) -> None:
    clock = Time()
    log = SqliteLog(path, monotonic=clock, sleep=clock.sleep)
    with (
        closing(log),
        closing(log.consume(DEAD_LETTERS, "g", ignore)) as first,
        closing(log.consume(DEAD_LETTERS, "g", ignore)) as second,
    ):
        assert settle(clock, first, second) == [1, 0]
        first.close()
        clock.now += 0.4
        second.poll(0, 0.0)
        assert second.assignment == frozenset()
        clock.now += 0.2
        second.poll(0, 0.0)
        assert second.assignment == {0}


def test_waits_in_growing_steps_up_to_the_timeout(path: Path) -> None:
    clock = Time()
    log = SqliteLog(path, monotonic=clock, sleep=clock.sleep)
    with closing(log), closing(log.consume(DEAD_LETTERS, "g", ignore)) as consumer:
        assert consumer.poll(10, 0.1) == []
    assert clock.slept[:6] == pytest.approx([0.001, 0.002, 0.004, 0.008, 0.016, 0.02])
    assert max(clock.slept) == 0.02
    assert sum(clock.slept) == pytest.approx(0.1)


def test_looks_at_no_table_while_nothing_has_changed(path: Path, log: SqliteLog) -> None:
    statements: list[str] = []
    with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as consumer:
        consumer.poll(10, 0.0)
        with consumer._connection.use() as database:
            database.set_trace_callback(statements.append)
        consumer.poll(10, 0.0)
        assert statements == ["PRAGMA data_version"]
        log.append(SEGMENT_CALLS, [new("u")])
        assert len(consumer.poll(10, 0.0)) == 1


def test_a_poll_of_long_values_ends_at_some_megabytes(log: SqliteLog) -> None:
    log.append(RECEIPTS, [new("u", bytes(1024 * 1024))] * 10)
    with closing(log.consume(RECEIPTS, "g", ignore)) as consumer:
        sizes = [len(consumer.poll(10, 1.0)) for _ in range(3)]
    assert sizes == [4, 4, 2]


def test_refuses_metadata_that_another_engine_could_not_store(log: SqliteLog) -> None:
    with (
        closing(log.consume(RECEIPTS, "g", ignore)) as consumer,
        pytest.raises(ValueError, match="4000 bytes"),
    ):
        consumer.commit({0: Commit(1, "ö" * 2001)})


def test_closing_leaves_the_group_even_when_on_revoked_fails(log: SqliteLog) -> None:
    def fail(_: frozenset[int]) -> None:
        raise RuntimeError("no")

    consumer = log.consume(RECEIPTS, "g", fail)
    consumer.poll(1, 0.0)
    with pytest.raises(RuntimeError):
        consumer.close()
    with closing(log.consume(RECEIPTS, "g", ignore)) as other:
        other.poll(0, 0.0)
        assert other.assignment == {0}
