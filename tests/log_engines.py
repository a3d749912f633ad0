"""The log engines under test, and what their tests have in common."""

import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from app.kafka_settings import KafkaSettings
from app.log import open_log
from app.log.base import (
    DEAD_LETTERS,
    ITERABLE_WEBHOOKS,
    RECEIPTS,
    SEGMENT_CALLS,
    Consumer,
    Log,
    NewRecord,
    Record,
)
from tests.kafka_broker import shared_broker
from tests.kafka_mock import shared_mock

# The mock cluster cannot be asked to create topics, so they are made with it.
MOCK_TOPICS = {SEGMENT_CALLS: 8, ITERABLE_WEBHOOKS: 8, DEAD_LETTERS: 1, RECEIPTS: 1, "probe": 1}
# A rebalance takes the mock one second less than the session timeout.
MOCK = KafkaSettings(client={"session.timeout.ms": 2_000, "heartbeat.interval.ms": 200})
NOBODY = "kafka://127.0.0.1:1/nobody"


@dataclass(frozen=True)
class Engine:
    """A log engine under test. `broken_url` names a log that cannot be reached."""

    url: str
    broken_url: str
    patience: float  # seconds that a change of membership may take
    kafka: KafkaSettings | None = None

    def open(self) -> Log:
        """The log, as every process that uses it opens it."""
        return open_log(self.url, self.kafka)


@contextmanager
def sqlite_engine(folder: Path) -> Iterator[Engine]:
    (folder / "file").write_text("not a folder")
    yield Engine(f"sqlite:///{folder}/var/bridge.db", f"sqlite:///{folder}/file/bridge.db", 10.0)


@contextmanager
def mock_engine(_: Path) -> Iterator[Engine]:
    cluster, prefix = shared_mock(), f"test-{uuid4().hex[:8]}"
    cluster.create({f"{prefix}.{topic}": count for topic, count in MOCK_TOPICS.items()})
    yield Engine(f"kafka://{cluster.servers}/{prefix}", NOBODY, 30.0, MOCK)


@contextmanager
def broker_engine(_: Path) -> Iterator[Engine]:
    settings = KafkaSettings(partitions=8, replication=1)
    url = f"kafka://{shared_broker().servers}/test-{uuid4().hex[:8]}"
    yield Engine(url, NOBODY, 30.0, settings)


# One entry is all that the contract suite needs to know of an engine.
ENGINES: dict[str, Callable[[Path], AbstractContextManager[Engine]]] = {
    "sqlite": sqlite_engine,
    "mock": mock_engine,
    "kafka": broker_engine,
}


@pytest.fixture(
    params=["sqlite", "mock", pytest.param("kafka", marks=pytest.mark.kafka)],
)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with ENGINES[request.param](tmp_path) as found:
        yield found


@pytest.fixture
def log(engine: Engine) -> Iterator[Log]:
    with closing(engine.open()) as opened:
        yield opened


# Fresh processes, as they are in production; a fork of a test run would inherit its threads.
spawn = multiprocessing.get_context("spawn")


def new(key: str, value: bytes | None = b"{}", **headers: str) -> NewRecord:
    return NewRecord(key, value, headers)


def numbered(key: str, numbers: Sequence[int]) -> list[NewRecord]:
    return [new(key, str(number).encode()) for number in numbers]


def ignore(_: frozenset[int]) -> None:
    """For consumers whose partitions may go without more ado."""


def poll_until(
    patience: float, done: Callable[[list[Record]], bool], *consumers: Consumer, limit: int = 100
) -> list[Record]:
    """Poll the consumers in turn until what they got together is enough."""
    records: list[Record] = []
    end = time.monotonic() + patience
    while not done(records):
        assert time.monotonic() < end, f"waited {patience} s, got {len(records)} records"
        for consumer in consumers:
            records += consumer.poll(limit, 0.02)
    return records


def poll_count(engine: Engine, count: int, *consumers: Consumer) -> list[Record]:
    return poll_until(engine.patience, lambda records: len(records) >= count, *consumers)


def values_by_key(records: Sequence[Record]) -> dict[str, list[bytes | None]]:
    found: dict[str, list[bytes | None]] = defaultdict(list)
    for record in records:
        found[record.key].append(record.value)
    return found
