"""The partner as the courier sees it, played by a script; all the rest of these tests is real.

Time is played too: the log and the courier share one `Time`, so that whoever waits for a minute
moves the clock on by a minute instead.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.courier import Courier
from app.destination import Destination, Endpoint
from app.log.base import (
    DEAD_LETTERS,
    ITERABLE_WEBHOOKS,
    RECEIPTS,
    SEGMENT_CALLS,
    Consumer,
    Log,
    LogUnavailable,
    NewRecord,
    Progress,
    Record,
    Revoked,
)
from app.log.sqlite import SqliteLog
from app.log.sqlite_consumer import SqliteConsumer
from app.outcomes import Dead, Delivered, Discarded, Outcome

ONE_PARTITION = {SEGMENT_CALLS: 1, ITERABLE_WEBHOOKS: 1, DEAD_LETTERS: 1, RECEIPTS: 1}


class Time:
    """A clock that stands still until somebody waits."""

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Seconds, of either kind."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Wait, at once."""
        with self._lock:
            self.now += seconds


@dataclass(frozen=True)
class FakeStep:
    """A step called `name`; nothing but the name tells it from others."""

    name: str
    endpoint: str = "track"
    size: int = 10

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


Answers = Callable[[str, list[str]], list[Outcome]]
Prepare = Callable[[Record], Sequence[FakeStep] | Discarded | Dead]


def well(_: str, names: list[str]) -> list[Outcome]:
    """A partner that takes everything."""
    return [Delivered() for _ in names]


def one_step(record: Record) -> Sequence[FakeStep]:
    """The usual record: one step, named after the record's value."""
    return [FakeStep((record.value or b"").decode())]


@dataclass(frozen=True)
class Request:
    """A request that the partner got, at `at` seconds."""

    endpoint: str
    names: list[str]
    at: float


@dataclass
class FakeDestination:
    """A destination whose answers the test writes. It keeps every request that it got."""

    answers: Answers = well
    map: Prepare = one_step
    endpoints: Mapping[str, Endpoint] = field(default_factory=lambda: {"track": Endpoint()})
    clock: Callable[[], float] = lambda: 0.0
    group: str = "fake"
    direction: str = "outbound"
    topic: str = SEGMENT_CALLS
    requests: list[Request] = field(default_factory=list)
    closed: bool = False

    def prepare(self, record: Record) -> Sequence[FakeStep] | Discarded | Dead:
        return self.map(record)

    def deliver(self, endpoint: str, steps: Sequence[Any]) -> list[Outcome]:
        names = [step.name for step in steps]
        self.requests.append(Request(endpoint, names, self.clock()))
        return self.answers(endpoint, names)

    def close(self) -> None:
        self.closed = True

    @property
    def sent(self) -> list[str]:
        """The names of all that was sent, in the order it was sent."""
        return [name for request in self.requests for name in request.names]

    @property
    def times(self) -> list[float]:
        """When each request came."""
        return [request.at for request in self.requests]


class Gate:
    """A partner that keeps requests with certain names waiting until it is opened."""

    def __init__(self, *names: str, then: Answers = well) -> None:
        self._names = set(names)
        self._then = then
        self._open = threading.Event()

    def __call__(self, endpoint: str, names: list[str]) -> list[Outcome]:
        if not self._names or self._names & set(names):
            assert self._open.wait(30.0), "nobody opened the gate"
        return self._then(endpoint, names)

    def open(self) -> None:
        """Let them go, now and later."""
        self._open.set()


class Script:
    """Answers by the step's name: the outcomes given for it one after another, then Delivered."""

    def __init__(self, **outcomes: Sequence[Outcome]) -> None:
        self._left = {name: list(script) for name, script in outcomes.items()}

    def __call__(self, _: str, names: list[str]) -> list[Outcome]:
        return [self._next(name) for name in names]

    def _next(self, name: str) -> Outcome:
        script = self._left.get(name)
        return script.pop(0) if script else Delivered()


class Workshop:
    """A real log in a folder, a clock, and couriers that the test turns by hand."""

    def __init__(self, folder: Path, partitions: Mapping[str, int] | None = None) -> None:
        self.time = Time()
        self.url = f"sqlite:///{folder / 'bridge.db'}"
        options = {} if partitions is None else {"partitions": partitions}
        self.log = SqliteLog(
            folder / "bridge.db",
            clock=self.time,
            monotonic=self.time,
            sleep=self.time.sleep,
            **options,
        )
        self.chance = 0.5
        self._couriers: list[Courier] = []

    def courier(
        self,
        destination: Destination,
        *,
        threads: int = 4,
        max_attempts: int = 20,
        log: Any = None,
    ) -> Courier:
        """A courier of its own process, as far as the log can tell."""
        if isinstance(destination, FakeDestination):
            destination.clock = self.time
        made = Courier(
            destination,
            self.log if log is None else log,
            threads=threads,
            max_attempts=max_attempts,
            clock=self.time,
            now=self.time,
            chance=lambda: self.chance,
        )
        self._couriers.append(made)
        return made

    def append(self, *names: str, key: str | None = None, **headers: str) -> list[tuple[int, int]]:
        """Store a call a name: `anna1` is a call of anna, unless `key` says whose it is."""
        records = [
            NewRecord(key or name.rstrip("0123456789"), name.encode(), headers) for name in names
        ]
        return self.log.append(SEGMENT_CALLS, records)

    def turn(
        self,
        *couriers: Courier,
        until: Callable[[], Any],
        seconds: float = 600.0,
        step: float = 0.006,
    ) -> None:
        """Turn the couriers until something is so, within so many played seconds.

        `step`: played seconds between two turns; a large one gets long outages over with.
        """
        end = self.time.now + seconds
        while not until():
            assert self.time.now < end, f"not within {seconds} played seconds"
            for courier in couriers:
                courier.turn()
            self.time.sleep(step)

    def turn_for(self, seconds: float, *couriers: Courier, step: float = 0.006) -> None:
        """Turn the couriers for so many played seconds."""
        end = self.time.now + seconds
        ended = lambda: self.time.now >= end  # noqa: E731
        self.turn(*couriers, until=ended, seconds=seconds + 600.0, step=step)

    def drain(self, *couriers: Courier, group: str = "fake", step: float = 0.006) -> None:
        """Turn the couriers until nothing waits and that is committed."""
        self.turn(*couriers, until=lambda: self.waiting(group) == 0, seconds=86400.0, step=step)

    def progress(self, group: str = "fake") -> list[Progress]:
        return self.log.progress(SEGMENT_CALLS, group)

    def waiting(self, group: str = "fake") -> int:
        """Records that are not finished."""
        return sum(part.waiting for part in self.progress(group))

    def shown(self, group: str = "fake") -> dict[str, Any]:
        """What the commits' metadata tell, added up."""
        found: dict[str, Any] = defaultdict(int)
        for part in self.progress(group):
            for name, value in orjson.loads(part.metadata or "{}").items():
                found[name] = value if isinstance(value, str) else found[name] + value
        return dict(found)

    def letters(self) -> list[dict[str, Any]]:
        """Every dead letter ever written, also those that have ended."""
        records = self.log.read(DEAD_LETTERS, 0, 0)
        return [orjson.loads(record.value) for record in records if record.value]

    def receipts(self) -> list[dict[str, Any]]:
        """The receipts, in the order they were stored."""
        return [orjson.loads(record.value or b"") for record in self.log.read(RECEIPTS, 0, 0)]

    def leave(self, courier: Courier) -> None:
        """Stop a courier gracefully."""
        stop = threading.Event()
        stop.set()
        courier.run(stop)
        self._couriers.remove(courier)

    def kill(self, courier: Courier) -> None:
        """What is left of a courier after SIGKILL: its locks are free, nothing is committed."""
        consumer = courier._consumer
        if isinstance(consumer, FaultyConsumer):
            consumer = consumer.real
        assert isinstance(consumer, SqliteConsumer)
        consumer._membership.leave()
        consumer._connection.close()
        courier._crew.close()
        self._couriers.remove(courier)

    def close(self) -> None:
        for courier in list(self._couriers):
            self.kill(courier)
        self.log.close()


class Faulty:
    """A real log that fails on demand, as on a full disk: what is named in `failing` raises.

    A topic's name there makes the appends to it fail.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self.failing: set[str] = set()
        self.failures = 0

    def consume(self, topic: str, group: str, on_revoked: Revoked) -> "FaultyConsumer":
        return FaultyConsumer(self._log.consume(topic, group, on_revoked), self)

    def append(self, topic: str, records: Sequence[NewRecord]) -> list[tuple[int, int]]:
        self.fail(topic)
        return self._log.append(topic, records)

    def fail(self, name: str) -> None:
        if name in self.failing:
            self.failures += 1
            raise LogUnavailable(f"{name}: the disk is full")

    def __getattr__(self, name: str) -> Any:
        self.fail(name)
        return getattr(self._log, name)


class FaultyConsumer:
    """A real consumer that fails when its log is told to."""

    def __init__(self, real: Consumer, log: Faulty) -> None:
        self.real = real
        self._log = log

    def __getattr__(self, name: str) -> Any:
        self._log.fail(name)
        return getattr(self.real, name)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Workshop]:
    """A workshop whose topics have one partition, so that all records stand in one row."""
    with workshop(tmp_path, ONE_PARTITION) as made:
        yield made


@contextmanager
def workshop(folder: Path, partitions: Mapping[str, int] | None = None) -> Iterator[Workshop]:
    made = Workshop(folder, partitions)
    try:
        yield made
    finally:
        made.close()
