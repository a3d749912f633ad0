"""The processes that the benchmarks measure."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from app.log import open_log
from app.log.base import SEGMENT_CALLS, NewRecord
from tests.bridge_process import Bridge, clean_environment, free_port, wait_for
from tests.sandbox_process import Sandbox

ROOT = Path(__file__).resolve().parent.parent.parent


@contextmanager
def bridge(sandbox: Sandbox, **settings: str) -> Iterator[Bridge]:
    """A bridge with gunicorn's usual settings, in a folder that goes away."""
    with tempfile.TemporaryDirectory() as folder:
        defaults = {
            "ITERABLE_API_KEY": "key",
            "ITERABLE_BASE_URL": sandbox.iterable,
            "BRIDGE_WEB_THREADS": "32",
        }
        with Bridge(Path(folder), {**defaults, **settings}) as running:
            yield running


@contextmanager
def gunicorn(app: str, *options: str, **settings: str) -> Iterator[int]:
    """Another application under the same gunicorn settings; yields its port."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", *options, app],
        cwd=ROOT,
        env={**clean_environment(), "BRIDGE_BIND": f"127.0.0.1:{port}", **settings},
        stderr=subprocess.DEVNULL,
    )
    probe = Bridge(ROOT, {})
    probe.url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _answers(probe), "gunicorn answers")
        yield port
    finally:
        probe.session.close()
        process.terminate()
        process.wait()


def _answers(probe: Bridge) -> bool:
    try:
        return probe.session.get(f"{probe.url}/", timeout=5).status_code == 404
    except OSError:
        return False


def track(number: int) -> dict[str, Any]:
    """A track call of a person of its own, of ordinary size."""
    return {
        "type": "track",
        "userId": f"user-{number}",
        "event": "Product Viewed",
        "messageId": f"message-{number:012}",
        "timestamp": "2026-03-01T09:30:00.000Z",
        "context": {"library": {"name": "analytics.js"}, "ip": "203.0.113.7", "locale": "en-US"},
        "properties": {
            "product_id": "507f1f77bcf86cd799439011",
            "sku": "G-32",
            "category": "Games",
            "name": "Monopoly: 3rd Edition",
            "price": 18.99,
            "url": "https://shop.example/product/path",
        },
    }


def fill(bridge: Bridge, count: int, first: int = 0) -> None:
    """Put `count` calls of as many persons into the log, past the door."""
    log = open_log(bridge.settings["BRIDGE_LOG"])
    for start in range(first, first + count, 1000):
        numbers = range(start, min(start + 1000, first + count))
        log.append(SEGMENT_CALLS, [_record(number) for number in numbers])
    log.close()


def _record(number: int) -> NewRecord:
    headers = {"message-id": f"message-{number:012}", "received-at": "1772000000.0"}
    return NewRecord(f"user-{number}", orjson.dumps(track(number)), headers)


def rate(entries: list[dict[str, Any]], skip: float = 0.1) -> float:
    """Requests a second at the stand-in, without the first and last tenth (starting, ending)."""
    times = sorted(entry["at"] for entry in entries)
    cut = int(len(times) * skip)
    times = times[cut : len(times) - cut]
    seconds: float = times[-1] - times[0]
    return (len(times) - 1) / seconds


def resident(pid: int) -> float:
    """MB of memory that a process and its children hold."""
    pids = [pid, *(int(p) for p in _children(pid))]
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) * page for p in pids) / 1e6


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that a process and its children have used."""
    ticks = 0
    for one in [pid, *_children(pid)]:
        fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def settle() -> None:
    """Let the machine calm down between two measurements."""
    time.sleep(1.0)
