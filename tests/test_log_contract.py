"""The contract of app/log/base.py, for each engine: appending, reading, progress, trimming."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing

import pytest

from app.log import open_log
from app.log.base import (
    DEAD_LETTERS,
    ITERABLE_WEBHOOKS,
    SEGMENT_CALLS,
    TOPICS,
    Commit,
    Log,
    LogUnavailable,
    NewRecord,
    Record,
)
from tests.log_engines import (
    Engine,
    ignore,
    new,
    numbered,
    poll_count,
    poll_until,
    spawn,
    values_by_key,
)
from tests.log_engines import (
    engine as engine,
)
from tests.log_engines import (
    log as log,
)


def test_gives_back_what_was_appended(engine: Engine, log: Log) -> None:
    before = time.time()
    [(partition, offset)] = log.append(SEGMENT_CALLS, [new("u1", b'{"a":1}', message_id="m-1")])
    with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as consumer:
        [record] = poll_count(engine, 1, consumer)
    assert record == Record(
        topic=SEGMENT_CALLS,
        partition=partition,
        offset=offset,
        key="u1",
        value=b'{"a":1}',
        headers={"message_id": "m-1"},
        appended_at=record.appended_at,
    )
    assert before - 1 <= record.appended_at <= time.time() + 1


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(new("u", b""), id="empty value"),
        pytest.param(new("u", None), id="tombstone"),
        pytest.param(new("u", bytes(range(256))), id="any bytes"),
        pytest.param(new("u", b"x" * 1024 * 1024), id="1 MB"),
        pytest.param(new("", b"{}"), id="empty key"),
        pytest.param(new("Zoë 🦊\x00'", b"{}", name="日本 \n\x00", empty=""), id="unicode"),
    ],
)
def test_keeps_every_kind_of_record_as_it_is(log: Log, record: NewRecord) -> None:
    [(partition, offset)] = log.append(DEAD_LETTERS, [record])
    [found] = log.read(DEAD_LETTERS, partition, offset)
    assert (found.key, found.value, found.headers) == (record.key, record.value, record.headers)


def test_appending_nothing_stores_nothing(log: Log) -> None:
    assert log.append(SEGMENT_CALLS, []) == []
    assert sum(p.waiting for p in log.progress(SEGMENT_CALLS, "g")) == 0


def test_keeps_the_order_of_each_key_in_one_partition(engine: Engine, log: Log) -> None:
    keys = [f"person-{number}" for number in range(20)]
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number in range(10):
        appended = log.append(SEGMENT_CALLS, [new(key, b"%d" % number) for key in keys])
        for key, place in zip(keys, appended, strict=True):
            places[key].append(place)
    with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as consumer:
        records = poll_count(engine, 200, consumer)
    assert values_by_key(records) == {key: [b"%d" % n for n in range(10)] for key in keys}
    for key in keys:
        assert len({partition for partition, _ in places[key]}) == 1
        assert places[key] == sorted(set(places[key]))
        assert places[key] == [(r.partition, r.offset) for r in records if r.key == key]


def test_many_keys_use_many_partitions(log: Log) -> None:
    places = log.append(SEGMENT_CALLS, [new(f"person-{number}") for number in range(500)])
    assert {partition for partition, _ in places} == set(range(log.partitions(SEGMENT_CALLS)))


def test_keeps_topics_apart(log: Log) -> None:
    for topic in TOPICS:
        log.append(topic, [new("u", topic.encode())])
    for topic in TOPICS:
        found = [r.value for p in range(log.partitions(topic)) for r in log.read(topic, p, 0)]
        assert found == [topic.encode()]


def test_what_was_appended_outlives_the_handle(engine: Engine) -> None:
    with closing(engine.open()) as first:
        [(partition, offset)] = first.append(SEGMENT_CALLS, [new("u", b"kept")])
    with closing(engine.open()) as second:
        assert [r.value for r in second.read(SEGMENT_CALLS, partition, offset)] == [b"kept"]


def test_read_returns_a_range_of_a_partition(log: Log) -> None:
    places = log.append(SEGMENT_CALLS, numbered("u", range(10)))
    partition, offsets = places[0][0], [offset for _, offset in places]
    found = log.read(SEGMENT_CALLS, partition, offsets[3], offsets[6])
    assert [record.offset for record in found] == offsets[3:6]


def test_read_ends_where_the_partition_ended_when_it_began(log: Log) -> None:
    [(partition, start), *_] = log.append(SEGMENT_CALLS, numbered("u", range(300)))
    records = log.read(SEGMENT_CALLS, partition, start)
    log.append(SEGMENT_CALLS, [new("u", b"later")])
    assert [record.value for record in records] == [str(n).encode() for n in range(300)]


def test_read_lets_others_write_in_between(log: Log) -> None:
    [(partition, start), *_] = log.append(SEGMENT_CALLS, numbered("u", range(500)))
    count = 0
    for count, _ in enumerate(log.read(SEGMENT_CALLS, partition, start), start=1):
        if count % 100 == 0:
            log.append(SEGMENT_CALLS, [new("u", b"later")])
    assert count == 500


# --- progress, trim, check


def test_progress_tells_how_far_a_group_is(engine: Engine, log: Log) -> None:
    places = log.append(ITERABLE_WEBHOOKS, numbered("u", range(4)))
    partition, end = places[0][0], places[-1][1] + 1
    waiting = {p.partition: p for p in log.progress(ITERABLE_WEBHOOKS, "g")}
    assert sorted(waiting) == list(range(log.partitions(ITERABLE_WEBHOOKS)))
    assert waiting[partition].waiting == 4
    with closing(log.consume(ITERABLE_WEBHOOKS, "g", ignore)) as consumer:
        records = poll_count(engine, 4, consumer)
        consumer.commit({partition: Commit(records[1].offset, "one")})
        [progress] = [p for p in log.progress(ITERABLE_WEBHOOKS, "g") if p.partition == partition]
        assert (progress.committed, progress.end) == (records[1].offset, end)
        assert (progress.metadata, progress.waiting) == ("one", 3)
        assert progress.oldest_waiting == pytest.approx(records[1].appended_at, abs=0.002)
        consumer.commit({partition: Commit(end, "all")})
    [progress] = [p for p in log.progress(ITERABLE_WEBHOOKS, "g") if p.partition == partition]
    assert (progress.waiting, progress.metadata, progress.oldest_waiting) == (0, "all", None)


def test_trim_never_takes_what_a_group_still_needs(engine: Engine, log: Log) -> None:
    places = log.append(SEGMENT_CALLS, numbered("u", range(6)))
    partition, offsets = places[0][0], [offset for _, offset in places]
    for group, finished in (("fast", 5), ("slow", 2)):
        with closing(log.consume(SEGMENT_CALLS, group, ignore)) as consumer:
            poll_count(engine, 6, consumer)
            consumer.commit({partition: Commit(offsets[finished])})
    while log.trim(SEGMENT_CALLS, ["fast", "slow"], time.time() + 60):
        pass
    found = [record.offset for record in log.read(SEGMENT_CALLS, partition, offsets[0])]
    assert found[-4:] == offsets[2:]


def test_check_passes_when_the_log_can_store(log: Log) -> None:
    log.check()
    assert log.append(SEGMENT_CALLS, [new("u")])


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda log: log.check(), id="check"),
        pytest.param(lambda log: log.append(SEGMENT_CALLS, [new("u")]), id="append"),
        pytest.param(lambda log: log.progress(SEGMENT_CALLS, "g"), id="progress"),
        pytest.param(lambda log: list(log.read(SEGMENT_CALLS, 0, 0)), id="read"),
    ],
)
def test_says_so_when_it_cannot_be_used(engine: Engine, use: Callable[[Log], object]) -> None:
    with closing(open_log(engine.broken_url)) as broken, pytest.raises(LogUnavailable, match=r"\w"):
        use(broken)


# --- many at once

THREADS, RECORDS = 8, 25


def append_from_threads(engine: Engine, name: str) -> None:
    """Each thread appends the numbers of its own person, and every second one as two at once."""
    with closing(engine.open()) as log:

        def work(thread: int) -> None:
            for number in range(0, RECORDS * 2, 2):
                log.append(SEGMENT_CALLS, numbered(f"{name}-{thread}", [number, number + 1]))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_threads_of_several_processes_lose_nothing_and_keep_the_order(
    engine: Engine, log: Log
) -> None:
    processes = [
        spawn.Process(target=append_from_threads, args=(engine, name)) for name in ("a", "b")
    ]
    for process in processes:
        process.start()
    with closing(log.consume(SEGMENT_CALLS, "g", ignore)) as consumer:
        records = poll_until(60.0, lambda found: len(found) >= 2 * THREADS * RECORDS * 2, consumer)
    for process in processes:
        process.join()
        assert process.exitcode == 0
        process.close()
    expected = [str(number).encode() for number in range(RECORDS * 2)]
    assert values_by_key(records) == {
        f"{name}-{thread}": expected for name in ("a", "b") for thread in range(THREADS)
    }
