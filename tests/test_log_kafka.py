"""What only the engine on Kafka does, on librdkafka's mock cluster."""

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from marshmallow import ValidationError

from app.kafka_settings import KafkaSettings
from app.log import open_log
from app.log.base import DEAD_LETTERS, RECEIPTS, SEGMENT_CALLS, Commit, LogUnavailable, Record
from app.log.kafka import KafkaLog
from app.log.kafka_client import Sparing, verdict
from app.log.kafka_consumer import FULL, Buffer
from app.log.partitions import partition_for
from app.settings import SettingsError, SettingsSchema, load_settings
from tests.kafka_mock import MockCluster, mock_cluster
from tests.log_engines import MOCK, MOCK_TOPICS, ignore, new, numbered, poll_until

# Keys of requests in Kafka's protocol.
PRODUCE, FETCH, LIST_OFFSETS, COMMIT, COMMITTED, JOIN, INIT_PRODUCER = 0, 1, 2, 8, 9, 11, 22
CLUSTER_REFUSED = 31  # CLUSTER_AUTHORIZATION_FAILED


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    with mock_cluster() as found:
        found.create({f"bridge.{topic}": count for topic, count in MOCK_TOPICS.items()})
        yield found


@pytest.fixture
def log(cluster: MockCluster) -> Iterator[KafkaLog]:
    with closing(KafkaLog(cluster.servers, "bridge", MOCK)) as opened:
        yield opened


def joined(log: KafkaLog, on_revoked: Callable[[frozenset[int]], None] = ignore) -> Any:
    consumer = log.consume(SEGMENT_CALLS, "g", on_revoked)
    poll_until(30.0, lambda _: len(consumer.assignment) == consumer.partitions, consumer)
    return consumer


# --- the URL and the package


@pytest.mark.parametrize("url", ["kafka://", "kafka://host:9092", "kafka://host:9092/"])
def test_refuses_a_url_without_broker_or_prefix(url: str) -> None:
    with pytest.raises(ValueError, match=r"BRIDGE_LOG.* kafka://HOST:PORT"):
        open_log(url)


def test_says_what_to_install_when_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("app.log.kafka")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ValueError, match=r"pip install '\.\[kafka\]'"):
        open_log("kafka://127.0.0.1:9092/bridge")


def test_a_setting_that_the_client_does_not_know_is_named() -> None:
    settings = KafkaSettings(client={"no.such.setting": 1})
    with closing(open_log("kafka://127.0.0.1:1/bridge", settings)) as log:
        with pytest.raises(LogUnavailable, match=r"no\.such\.setting"):
            log.check()
        assert "no.such" not in repr(settings)  # secrets may be among them


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('"sasl.password" = "x"', "BRIDGE_KAFKA_SASL_PASSWORD"),
        ('"ssl.key.pem" = "x"', "ssl.key.location"),
        ("acks = 1", "set by the bridge"),
        ('sasl.username = "x"', "in quotes"),
    ],
)
def test_refuses_what_does_not_belong_into_the_table(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/bridge.toml").write_text(f"[kafka]\n{line}\n")
    with pytest.raises(SettingsError, match=told):
        load_settings({}, tmp_path)
    with pytest.raises(ValidationError, match="must be a table"):
        SettingsSchema().load({"kafka": "x"})


def test_secrets_of_the_environment_go_to_the_client_and_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/bridge.toml").write_text('[kafka]\n"security.protocol" = "SASL_SSL"\n')
    environ = {"BRIDGE_KAFKA_SASL_USERNAME": "me", "BRIDGE_KAFKA_SASL_PASSWORD": "s3cret"}
    settings = load_settings(environ, tmp_path)
    assert settings.kafka_settings.client == {
        "security.protocol": "SASL_SSL",
        "sasl.username": "me",
        "sasl.password": "s3cret",
    }
    assert "s3cret" not in repr(settings) + repr(settings.kafka_settings)


# --- appending


def test_every_producer_puts_a_person_into_the_same_partition(log: KafkaLog) -> None:
    places = log.append(SEGMENT_CALLS, [new(f"person-{number}") for number in range(50)])
    assert [partition for partition, _ in places] == [
        partition_for(f"person-{number}", 8) for number in range(50)
    ]


def test_gives_up_before_a_sender_does_and_works_again_afterwards(
    cluster: MockCluster, log: KafkaLog
) -> None:
    log.append(SEGMENT_CALLS, [new("u", b"before")])
    cluster.stop()
    start = time.monotonic()
    with pytest.raises(LogUnavailable, match="cannot store anything"):
        log.append(SEGMENT_CALLS, [new("u", b"meanwhile")])
    assert time.monotonic() - start < 4.5
    with pytest.raises(LogUnavailable, match="cannot be reached"):
        log.check()
    cluster.start()
    [(partition, _)] = log.append(SEGMENT_CALLS, [new("u", b"after")])
    log.check()
    values = [record.value for record in log.read(SEGMENT_CALLS, partition, 0)]
    assert (values[0], values[-1]) == (b"before", b"after")


def test_an_error_that_may_pass_is_tried_again_unnoticed(
    cluster: MockCluster, log: KafkaLog
) -> None:
    cluster.fail(PRODUCE, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.NOT_ENOUGH_REPLICAS)
    [(partition, offset)] = log.append(SEGMENT_CALLS, [new("u", b"once")])
    assert [r.value for r in log.read(SEGMENT_CALLS, partition, offset)] == [b"once"]


def test_a_producer_that_is_refused_for_good_is_replaced(
    cluster: MockCluster, log: KafkaLog
) -> None:
    cluster.fail(INIT_PRODUCER, CLUSTER_REFUSED)
    with pytest.raises(LogUnavailable):
        log.append(SEGMENT_CALLS, [new("u", b"refused")])
    [(partition, offset)] = log.append(SEGMENT_CALLS, [new("u", b"taken")])
    assert [r.value for r in log.read(SEGMENT_CALLS, partition, offset)] == [b"taken"]


def test_a_record_that_is_too_large_is_refused_with_the_reason(log: KafkaLog) -> None:
    with pytest.raises(LogUnavailable, match="too large"):
        log.append(SEGMENT_CALLS, [new("u", bytes(65 * 1024 * 1024))])


def append_in_child(log: KafkaLog) -> None:
    log.append(SEGMENT_CALLS, [new("u", b"child")])
    os._exit(0)  # as multiprocessing does; the parent's clients must not be touched


def test_a_forked_process_has_clients_of_its_own(log: KafkaLog) -> None:
    [(partition, offset)] = log.append(SEGMENT_CALLS, [new("u", b"parent")])
    child = multiprocessing.get_context("fork").Process(target=append_in_child, args=(log,))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    child.close()
    log.append(SEGMENT_CALLS, [new("u", b"parent again")])
    found = [record.value for record in log.read(SEGMENT_CALLS, partition, offset)]
    assert found == [b"parent", b"child", b"parent again"]


# --- reading


def test_records_of_other_producers_can_be_read(cluster: MockCluster, log: KafkaLog) -> None:
    other = Producer({"bootstrap.servers": cluster.servers, "log_level": 0})
    other.produce("bridge.receipts", value=b"{}", key=b"\xff", headers=[("none", None)])
    other.produce("bridge.receipts", value=None)
    other.flush(5)
    found = [(r.key, r.value, dict(r.headers)) for r in log.read(RECEIPTS, 0, 0)]
    assert found == [("\ufffd", b"{}", {"none": ""}), ("", None, {})]


def test_a_range_that_is_not_there_is_empty(log: KafkaLog) -> None:
    assert list(log.read(DEAD_LETTERS, 0, 0)) == []
    log.append(DEAD_LETTERS, numbered("u", range(3)))
    assert list(log.read(DEAD_LETTERS, 0, 7, 9)) == []
    assert [r.offset for r in log.read(DEAD_LETTERS, 0, 1, 99)] == [1, 2]


def test_an_unknown_topic_is_an_error(log: KafkaLog) -> None:
    with pytest.raises(ValueError, match="unknown topic"):
        log.partitions("nonsense")


def test_missing_topics_that_nobody_can_create_are_named() -> None:
    with (
        mock_cluster() as cluster,
        closing(KafkaLog(cluster.servers, "bridge")) as log,
        pytest.raises(LogUnavailable, match=r"BRIDGE_KAFKA_REPLICATION=3"),
    ):
        log.check()


def test_brokers_that_cannot_delete_keep_everything(log: KafkaLog) -> None:
    log.append(SEGMENT_CALLS, numbered("u", range(3)))
    assert log.trim(SEGMENT_CALLS, [], time.time() + 60) == 0


def test_asks_anew_when_a_partition_has_moved(cluster: MockCluster, log: KafkaLog) -> None:
    [(partition, _)] = log.append(SEGMENT_CALLS, [new("u", b"kept")])
    log.progress(SEGMENT_CALLS, "g")
    cluster.fail(LIST_OFFSETS, KafkaError.FENCED_LEADER_EPOCH)
    assert [r.value for r in log.read(SEGMENT_CALLS, partition, 0)] == [b"kept"]
    cluster.fail(LIST_OFFSETS, *[KafkaError.FENCED_LEADER_EPOCH] * 1000)
    with pytest.raises(LogUnavailable, match="cannot be read"):
        log.read(SEGMENT_CALLS, partition, 0)


@pytest.mark.parametrize(
    ("request_kind", "use"),
    [
        pytest.param(LIST_OFFSETS, lambda log: log.read(DEAD_LETTERS, 0, 0), id="ends"),
        pytest.param(FETCH, lambda log: list(log.read(DEAD_LETTERS, 0, 0)), id="records"),
        pytest.param(COMMITTED, lambda log: log.progress(DEAD_LETTERS, "g"), id="progress"),
    ],
)
def test_what_the_brokers_forbid_is_told(
    cluster: MockCluster, log: KafkaLog, request_kind: int, use: Callable[[KafkaLog], object]
) -> None:
    log.append(DEAD_LETTERS, [new("u")])
    cluster.fail(request_kind, *[KafkaError.TOPIC_AUTHORIZATION_FAILED] * 20)
    with pytest.raises(LogUnavailable, match="authorization failed"):
        use(log)


def test_an_answer_that_never_comes_is_a_failure_and_no_endless_wait() -> None:
    never: Future[None] = Future()
    with pytest.raises(KafkaException, match="_TIMED_OUT"):
        verdict(never, patience=0.01)


def test_a_partition_that_nobody_leads_makes_the_log_unready(
    cluster: MockCluster, log: KafkaLog
) -> None:
    log.check()
    cluster.lead("bridge.segment.calls", 3, -1)
    with pytest.raises(LogUnavailable, match=r"\[3\] of the topic bridge.segment.calls"):
        log.check()


# --- consuming


def test_nothing_is_skipped_however_often_fetching_is_paused(log: KafkaLog) -> None:
    """A courier that takes nothing for a while, again and again, with records on their way."""
    count = 4 * FULL
    keys = [f"person-{number}" for number in range(40)]
    for start in range(0, count, 500):
        numbers = range(start, start + 500)
        log.append(SEGMENT_CALLS, [new(keys[n % 40], b"%d" % n) for n in numbers])
    found: list[Record] = []
    with closing(joined(log)) as consumer:
        pauses = 0
        while len(found) < count:
            for _ in range(FULL):
                assert consumer.poll(0, 0.0) == []
                if consumer._paused:
                    pauses += 1
                    break
            while consumer._paused and len(found) < count:
                found += consumer.poll(300, 0.01)
            found += consumer.poll(100, 0.01)
    assert pauses > 2
    by_partition: dict[int, list[int]] = {}
    for record in found:
        by_partition.setdefault(record.partition, []).append(record.offset)
    assert len(found) == count
    for offsets in by_partition.values():
        assert offsets == list(range(len(offsets)))


def test_lost_partitions_are_told_but_not_committed(cluster: MockCluster, log: KafkaLog) -> None:
    log.append(SEGMENT_CALLS, [new(f"person-{number}") for number in range(40)])
    given: list[frozenset[int]] = []

    def on_revoked(partitions: frozenset[int]) -> None:
        given.append(partitions)
        consumer.commit({number: Commit(1) for number in partitions})

    consumer = joined(log, on_revoked)
    with closing(consumer):
        cluster.fail(COMMIT, KafkaError.ILLEGAL_GENERATION)
        with pytest.raises(LogUnavailable, match="take a commit"):
            consumer.commit({0: Commit(1)})
        poll_until(30.0, lambda _: bool(given), consumer)
        assert given == [frozenset(range(8))]
        assert all(part.committed == 0 for part in log.progress(SEGMENT_CALLS, "g"))
        # It joins again by itself and starts where the group is.
        again = poll_until(30.0, lambda found: len(found) >= 40, consumer)
        assert len(again) == 40


def test_a_commit_waits_for_a_rebalance_to_end(cluster: MockCluster, log: KafkaLog) -> None:
    log.append(SEGMENT_CALLS, [new("u")])
    with closing(joined(log)) as consumer:
        cluster.fail(COMMIT, KafkaError.REBALANCE_IN_PROGRESS, KafkaError.REBALANCE_IN_PROGRESS)
        consumer.commit({0: Commit(0, "after all")})
        assert consumer.committed(0) == Commit(0, "after all")


def test_what_the_brokers_forbid_a_consumer_is_told(cluster: MockCluster, log: KafkaLog) -> None:
    with closing(joined(log)) as consumer:
        cluster.fail(COMMITTED, *[KafkaError.GROUP_AUTHORIZATION_FAILED] * 3)
        with pytest.raises(LogUnavailable, match="authorization failed"):
            consumer.committed(0)
        cluster.fail(FETCH, *[KafkaError.TOPIC_AUTHORIZATION_FAILED] * 5)
        with pytest.raises(LogUnavailable, match="authorization failed"):
            poll_until(30.0, lambda _: False, consumer)


def test_a_second_courier_of_the_same_name_does_not_go_on(cluster: MockCluster) -> None:
    settings = KafkaSettings(instance="courier-1", client=MOCK.client)
    with (
        closing(KafkaLog(cluster.servers, "bridge", settings)) as log,
        closing(log.consume(SEGMENT_CALLS, "g", ignore)) as consumer,
    ):
        cluster.fail(JOIN, KafkaError.FENCED_INSTANCE_ID)
        with pytest.raises(KafkaException, match="fenced"):
            poll_until(30.0, lambda _: False, consumer)


def test_closing_without_ever_polling_is_nothing(log: KafkaLog) -> None:
    log.consume(SEGMENT_CALLS, "g", ignore).close()


def test_stays_a_member_while_it_takes_nothing(cluster: MockCluster, log: KafkaLog) -> None:
    given: list[frozenset[int]] = []
    with closing(joined(log, given.append)) as consumer:
        end = time.monotonic() + 3.0  # longer than the session
        while time.monotonic() < end:
            consumer.poll(0, 0.1)
        assert given == []
        assert len(consumer.assignment) == 8


# --- the buffer and the lines about errors


def record(partition: int, offset: int) -> Record:
    return Record(SEGMENT_CALLS, partition, offset, "u", b"x", {}, 0.0)


def test_the_buffer_gives_every_partition_its_turn() -> None:
    buffer = Buffer()
    for offset in range(250):
        buffer.add(record(1, offset))
    buffer.add(record(2, 0))
    assert [r.partition for r in buffer.take(102)] == [1] * 100 + [2] + [1]
    buffer.drop(1)
    assert (buffer.take(10), buffer.count) == ([], 0)


def test_the_same_line_is_logged_once_a_minute() -> None:
    now = 0.0
    sparing = Sparing(lambda: now)

    def passes(text: str) -> bool:
        return sparing.filter(logging.makeLogRecord({"msg": text}))

    assert passes("FAIL a: refused (after 3 ms)")
    assert not passes("FAIL a: refused (after 7 ms)")
    assert passes("FAIL b: refused (after 7 ms)")
    now = 61.0
    assert passes("FAIL a: refused (after 9 ms)")
