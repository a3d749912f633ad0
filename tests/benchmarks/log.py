"""How fast the embedded log takes and gives records: `python -m tests.benchmarks.log`."""

import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

from app.log import open_log
from app.log.base import SEGMENT_CALLS, Log, NewRecord

SECONDS = 1.0  # for each figure
VALUE = b'{"type":"track","event":"Song Played","properties":{"padding":"%s"}}' % (b"x" * 900)
HEADERS = {"message_id": "0c6bfd68-3f32-4d4b-a6f1-6ff5a0b1e6a0", "received_at": "1700000000.123"}


def run() -> None:
    """Print the figures; takes less than ten seconds."""
    with _fresh_log() as (url, log):
        print(f"log, 1 thread           {_rate(_append(log, threads=1)):10,.0f} appends/s")
        times = _append(log, threads=32)
        percentiles = quantiles(times, n=100)
        print(f"log, 32 threads         {_rate(times):10,.0f} appends/s")
        print(f"log, 32 threads         {percentiles[49] * 1000:10.1f} ms p50")
        print(f"log, 32 threads         {percentiles[98] * 1000:10.1f} ms p99")
        print(f"log, 2 × 16 threads     {_append_in_processes(url):10,.0f} appends/s")
        print(f"log, 100 in one append  {_append_hundreds(log):10,.0f} records/s")
        print(f"log, poll               {_poll(log):10,.0f} records/s")
        print(f"log, trim               {_trim(log):10.1f} ms p50 for one bite")


@contextmanager
def _fresh_log() -> Iterator[tuple[str, Log]]:
    # In the working directory: /tmp may be in memory, where being durable costs nothing.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        url = f"sqlite:///{folder}/bridge.db"
        log = open_log(url)
        yield url, log
        log.close()


def _record(number: int) -> NewRecord:
    return NewRecord(f"person-{number % 5000}", VALUE, HEADERS)


def _append(log: Log, threads: int) -> list[float]:
    """Append one by one from each thread; return how long each append took, in seconds."""
    times: list[float] = []
    end = time.perf_counter() + SECONDS

    def work(number: int) -> None:
        while (start := time.perf_counter()) < end:
            log.append(SEGMENT_CALLS, [_record(number)])
            times.append(time.perf_counter() - start)
            number += 97

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return times


def _rate(times: list[float]) -> float:
    return len(times) / SECONDS


def _append_process(url: str, results: "multiprocessing.Queue[tuple[int, float]]") -> None:
    log = open_log(url)
    times = _append(log, threads=16)
    results.put((len(times), quantiles(times, n=100)[98]))
    log.close()


def _append_in_processes(url: str) -> float:
    spawn = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[tuple[int, float]] = spawn.Queue()
    processes = [spawn.Process(target=_append_process, args=(url, results)) for _ in range(2)]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    print(f"log, 2 × 16 threads     {max(p99 for _, p99 in found) * 1000:10.1f} ms p99")
    return sum(count for count, _ in found) / SECONDS


def _append_hundreds(log: Log) -> float:
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        log.append(SEGMENT_CALLS, [_record(count + n) for n in range(100)])
        count += 100
    return count / (time.perf_counter() - start)


def _poll(log: Log) -> float:
    consumer = log.consume(SEGMENT_CALLS, "benchmark", lambda _: None)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS and (found := consumer.poll(500, 0.0)):
        count += len(found)
    seconds = time.perf_counter() - start
    consumer.close()
    return count / seconds


def _trim(log: Log) -> float:
    times = []
    end = time.perf_counter() + SECONDS
    while (start := time.perf_counter()) < end and log.trim(SEGMENT_CALLS, [], time.time()):
        times.append(time.perf_counter() - start)
    return median(times) * 1000


if __name__ == "__main__":
    run()
