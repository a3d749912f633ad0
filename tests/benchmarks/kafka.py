"""The log on a real Kafka broker beside the embedded one: `python -m tests.benchmarks kafka`.

Appended records a second, and what a whole courier delivers a second to a stand-in for Iterable.
"""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

from app.courier import Courier
from app.kafka_settings import KafkaSettings
from app.log import open_log
from app.log.base import SEGMENT_CALLS, Log, NewRecord
from app.outbound.iterable import IterableDestination
from app.outbound.request import SERVER
from app.settings import Settings
from tests.kafka_broker import Missing, running_broker
from tests.sandbox_process import Sandbox, running_sandbox

SECONDS = 3.0  # for each figure of appending
RECORDS = 3_000  # that a courier delivers
WARM = 60.0  # seconds at most until a courier has its first record
CALL = b'{"type":"track","userId":"%d","messageId":"m-%d","event":"Seen","properties":{"p":"%s"}}'
ROW = "{:<34} {:>12,.0f} {:>12,.0f}"


def run() -> None:
    """Print the figures; takes about a minute, and needs Java and Maven."""
    try:
        with running_broker() as broker, _sqlite() as sqlite, running_sandbox() as sandbox:
            url = f"kafka://{broker.servers}/bench-{uuid4().hex[:8]}"
            with closing(open_log(url, KafkaSettings(replication=1))) as kafka:
                _compare(sqlite, kafka, sandbox)
    except Missing as missing:
        print(f"no figures for Kafka: {missing}")


def _compare(sqlite: Log, kafka: Log, sandbox: Sandbox) -> None:
    print(f"{'records a second':<34} {'SQLite':>12} {'Kafka':>12}")
    for name, threads, size in (
        ("appended, 1 thread", 1, 1),
        ("appended, 32 threads", 32, 1),
        ("appended, 4 threads of 100 each", 4, 100),
    ):
        print(ROW.format(name, *(_appended(log, threads, size) for log in (sqlite, kafka))))
    print(ROW.format("read by a consumer", *(_polled(log) for log in (sqlite, kafka))))
    for name, batching in (("delivered, one a request", False), ("delivered, in batches", True)):
        rates = (_delivered(log, sandbox, batching) for log in (sqlite, kafka))
        print(ROW.format(f"{name}, 1 courier", *rates))


@contextmanager
def _sqlite() -> Iterator[Log]:
    # In the working directory: /tmp may be in memory, where being durable costs nothing.
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder,
        closing(open_log(f"sqlite:///{folder}/bridge.db")) as log,
    ):
        yield log


def _record(number: int) -> NewRecord:
    body = CALL % (number % 5000, number, b"x" * 900)
    return NewRecord(f"person-{number % 5000}", body, {"message-id": f"m-{number}"})


def _appended(log: Log, threads: int, size: int) -> float:
    counts = [0] * threads
    log.append(SEGMENT_CALLS, [_record(0)])  # connects
    end = time.perf_counter() + SECONDS

    def work(thread: int) -> None:
        number = thread * 1_000_000
        while time.perf_counter() < end:
            log.append(SEGMENT_CALLS, [_record(number + n) for n in range(size)])
            counts[thread] += size
            number += size

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / SECONDS


def _polled(log: Log) -> float:
    """How fast a consumer reads what was appended, from its first record on."""
    with closing(log.consume(SEGMENT_CALLS, f"bench-{uuid4().hex[:8]}", lambda _: None)) as one:
        first = one.poll(1, WARM)
        start, count = time.perf_counter(), len(first)
        while time.perf_counter() - start < SECONDS and (found := one.poll(500, 1.0)):
            count += len(found)
        return count / (time.perf_counter() - start)


class _Bench(IterableDestination):
    """Iterable under a group of its own, without rate limits: what is measured is the bridge."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, SERVER)
        self.group = f"bench-{uuid4().hex[:8]}"


def _delivered(log: Log, sandbox: Sandbox, batching: bool) -> float:
    sandbox.reset()
    settings = Settings(
        iterable_api_key="key",
        iterable_base_url=sandbox.iterable,
        iterable_batching=batching,
        iterable_batch_age=0.05,
        limits={"events/track": 1e6, "events/trackBulk": 1e6},
    )
    courier = Courier(_Bench(settings), log, threads=32, max_attempts=20)
    stop = threading.Event()
    thread = threading.Thread(target=courier.run, args=(stop,))
    thread.start()
    try:
        return _rate(sandbox)
    finally:
        stop.set()
        thread.join()


def _arrived(sandbox: Sandbox) -> int:
    total: int = sandbox.shown(limit=1)["totals"]["events"]
    return total


def _rate(sandbox: Sandbox) -> float:
    """Calls a second that arrive at the stand-in, from the first one on."""
    end = time.perf_counter() + WARM
    while not _arrived(sandbox):
        assert time.perf_counter() < end, "nothing arrives"
        time.sleep(0.02)
    start, before = time.perf_counter(), _arrived(sandbox)
    while (count := _arrived(sandbox)) < before + RECORDS:
        assert time.perf_counter() < end, f"only {count} arrived"
        time.sleep(0.1)
    return (count - before) / (time.perf_counter() - start)


if __name__ == "__main__":
    run()
