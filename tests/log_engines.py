"""The log engines under test, and what their tests have in common."""

import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.log import open_log
from app.log.base import Consumer, Log, NewRecord, Record


@dataclass(frozen=True)
class Engine:
    """A log engine under test. `broken_url` names a log that cannot be reached."""

    url: str
    broken_url: str
    patience: float  # seconds that a change of membership may take


@contextmanager
def sqlite_engine(folder: Path) -> Iterator[Engine]:
    (folder / "file").write_text("not a folder")
    yield Engine(f"sqlite:///{folder}/var/bridge.db", f"sqlite:///{folder}/file/bridge.db", 10.0)


# One entry is all that the contract suite needs to know of an engine.
ENGINES: dict[str, Callable[[Path], AbstractContextManager[Engine]]] = {"sqlite": sqlite_engine}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with ENGINES[request.param](tmp_path) as found:
        yield found


@pytest.fixture
def log(engine: Engine) -> Iterator[Log]:
    with closing(open_log(engine.url)) as opened:
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
    patience: float, done: Callable[[list[Record]], bool], *consumers: Consumer
) -> list[Record]:
    """Poll the consumers in turn until what they got together is enough."""
    records: list[Record] = []
    end = time.monotonic() + patience
    while not done(records):
        assert time.monotonic() < end, f"waited {patience} s, got {len(records)} records"
        for consumer in consumers:
            records += consumer.poll(100, 0.02)
    return records


def poll_count(engine: Engine, count: int, *consumers: Consumer) -> list[Record]:
    return poll_until(engine.patience, lambda records: len(records) >= count, *consumers)


def values_by_key(records: Sequence[Record]) -> dict[str, list[bytes | None]]:
    found: dict[str, list[bytes | None]] = defaultdict(list)
    for record in records:
        found[record.key].append(record.value)
    return found
