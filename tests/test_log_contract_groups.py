"""The contract of app/log/base.py, for each engine: consumer groups and their members."""

import threading
import time
from contextlib import closing
from multiprocessing.connection import Connection

from app.log.base import SEGMENT_CALLS, Commit, Consumer, Log, Record
from tests.log_engines import (
    Engine,
    ignore,
    new,
    numbered,
    poll_count,
    poll_until,
    spawn,
)
from tests.log_engines import (
    engine as engine,
)
from tests.log_engines import (
    log as log,
)


def test_a_new_group_starts_at_the_beginning_and_sees_what_comes_later(
    engine: Engine, log: Log
) -> None:
    log.append(SEGMENT_CALLS, numbered("u", [1, 2]))
    with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as consumer:
        first = poll_count(engine, 2, consumer)
        assert consumer.poll(100, 0.0) == []
        log.append(SEGMENT_CALLS, numbered("u", [3]))
        second = poll_count(engine, 1, consumer)
    assert [record.value for record in first + second] == [b"1", b"2", b"3"]


def test_goes_on_at_the_committed_offset(engine: Engine, log: Log) -> None:
    places = log.append(SEGMENT_CALLS, numbered("u", range(5)))
    partition = places[0][0]
    with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as consumer:
        poll_count(engine, 5, consumer)
        assert consumer.committed(partition) is None
        consumer.commit({partition: Commit(places[2][1], '{"delivered":2}')})
        assert consumer.committed(partition) == Commit(places[2][1], '{"delivered":2}')
    with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as consumer:
        records = poll_count(engine, 3, consumer)
        assert consumer.committed(partition) == Commit(places[2][1], '{"delivered":2}')
    assert [record.value for record in records] == [b"2", b"3", b"4"]


def test_groups_do_not_touch_each_other(engine: Engine, log: Log) -> None:
    places = log.append(SEGMENT_CALLS, numbered("u", range(3)))
    partition = places[0][0]
    with closing(log.consume(SEGMENT_CALLS, "one", ignore)) as one:
        poll_count(engine, 3, one)
        one.commit({partition: Commit(places[-1][1] + 1)})
        with closing(log.consume(SEGMENT_CALLS, "two", ignore)) as two:
            assert len(poll_count(engine, 3, two)) == 3
            assert one.assignment == two.assignment == frozenset(range(one.partitions))


def test_a_commit_of_a_partition_that_is_not_assigned_is_skipped(log: Log) -> None:
    with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as consumer:
        assert consumer.assignment == frozenset()
        consumer.commit({0: Commit(7)})
    assert [p.committed for p in log.progress(SEGMENT_CALLS, "g") if p.partition == 0] == [0]


def test_poll_returns_no_more_than_asked_for(engine: Engine, log: Log) -> None:
    log.append(SEGMENT_CALLS, [new(f"person-{number}") for number in range(50)])
    with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as consumer:
        sizes: list[int] = []
        while sum(sizes) < 50:
            sizes.append(len(consumer.poll(7, engine.patience)))
    assert max(sizes) == 7


def test_poll_with_limit_zero_reads_nothing_but_joins(engine: Engine, log: Log) -> None:
    log.append(SEGMENT_CALLS, [new("u", b"kept")])
    with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as consumer:
        end = time.monotonic() + engine.patience
        while len(consumer.assignment) < consumer.partitions and time.monotonic() < end:
            assert consumer.poll(0, 0.01) == []
        assert consumer.assignment == frozenset(range(consumer.partitions))
        assert [record.value for record in poll_count(engine, 1, consumer)] == [b"kept"]


def test_a_long_partition_does_not_starve_a_short_one(engine: Engine, log: Log) -> None:
    [(long, _), *_] = log.append(SEGMENT_CALLS, numbered("u", range(3000)))
    places = [(key, log.append(SEGMENT_CALLS, [new(key)])[0][0]) for key in "abcdefgh"]
    short = next(key for key, partition in places if partition != long)
    with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as consumer:
        poll_until(engine.patience, lambda _: bool(consumer.assignment), consumer, limit=0)
        consumer.poll(0, 0.3)  # both are on their way from a broker
        records = poll_until(
            engine.patience, lambda found: any(r.key == short for r in found), consumer
        )
    assert len(records) < 3000


# --- membership


def fill(log: Log, count: int) -> None:
    log.append(SEGMENT_CALLS, [new(f"person-{n}", b"%d" % n) for n in range(count)])


def share_evenly(engine: Engine, *consumers: Consumer) -> list[Record]:
    """Poll until the partitions are shared; return what was read on the way."""
    most = -(-consumers[0].partitions // len(consumers))

    def done(_: list[Record]) -> bool:
        held = [len(consumer.assignment) for consumer in consumers]
        return max(held) <= most and sum(held) == consumers[0].partitions

    return poll_until(engine.patience, done, *consumers)


def test_two_members_share_the_partitions(engine: Engine, log: Log) -> None:
    with (
        closing(log.consume(SEGMENT_CALLS, "g", ignore)) as one,
        closing(log.consume(SEGMENT_CALLS, "g", ignore)) as two,
    ):
        share_evenly(engine, one, two)
        assert not one.assignment & two.assignment
        assert one.assignment | two.assignment == frozenset(range(one.partitions))


def test_what_is_committed_when_partitions_are_given_away_is_not_read_again(
    engine: Engine, log: Log
) -> None:
    fill(log, 200)
    given: list[frozenset[int]] = []
    positions: dict[int, int] = {}

    def commit_all(partitions: frozenset[int]) -> None:
        assert threading.current_thread() is threading.main_thread()
        given.append(partitions)
        one.commit({p: Commit(positions[p]) for p in partitions if p in positions})

    with closing(log.consume(SEGMENT_CALLS, "g", commit_all)) as one:
        records = poll_count(engine, 200, one)
        positions.update({record.partition: record.offset + 1 for record in records})
        with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as two:
            again = share_evenly(engine, one, two)
            assert [r for r in again if r.partition in one.assignment] == []
            assert two.assignment <= frozenset().union(*given)
            assert two.poll(100, 0.05) == []
            positions.clear()  # both leave now, and what one commits meanwhile may be refused
    assert sum(p.waiting for p in log.progress(SEGMENT_CALLS, "g") if p.partition in given[0]) == 0


def test_closing_calls_on_revoked_and_passes_the_partitions_on(engine: Engine, log: Log) -> None:
    given: list[frozenset[int]] = []
    fill(log, 20)
    leaving = log.consume(SEGMENT_CALLS, "g", given.append)
    poll_count(engine, 20, leaving)
    with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as staying:
        leaving.close()
        assert given == [frozenset(range(leaving.partitions))]
        assert leaving.assignment == frozenset()
        assert len(poll_count(engine, 20, staying)) == 20


def hold_partitions(engine: Engine, pipe: Connection) -> None:
    """Read 10 records, commit them, read on, and hold the partitions until killed."""
    consumer = engine.open().consume(SEGMENT_CALLS, "g", ignore)
    while not (records := consumer.poll(1000, 1.0)):
        pass
    partition = records[0].partition
    done = [record for record in records if record.partition == partition][:3]
    consumer.commit({partition: Commit(done[-1].offset + 1)})
    pipe.send([record.value for record in done])
    while True:
        consumer.poll(100, 0.1)


def test_a_killed_member_is_taken_over_from_its_last_commit(engine: Engine, log: Log) -> None:
    fill(log, 200)
    here, there = spawn.Pipe()
    process = spawn.Process(target=hold_partitions, args=(engine, there))
    process.start()
    try:
        done = here.recv()
        with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as consumer:
            consumer.poll(0, 0.0)
            process.kill()
            records = poll_count(engine, 200 - len(done), consumer)
    finally:
        process.kill()
        process.join()
        process.close()
    assert sorted(r.value or b"" for r in records) == sorted(
        {b"%d" % n for n in range(200)} - set(done)
    )
