"""A backlog of 1,000,000 records beside one of 10,000: speed, memory, `bridge status`."""

import os
import time

from tests.benchmarks.setting import bridge, fill, resident
from tests.bridge_process import Bridge, wait_for
from tests.sandbox_process import Sandbox, running_sandbox

SMALL = 10_000
LARGE = int(os.environ.get("BENCH_BACKLOG", "1000000"))
MEASURED = 6000


def run() -> None:
    with running_sandbox() as sandbox:
        small, _, _ = _measure(sandbox, SMALL)
        large, memory, status = _measure(sandbox, LARGE)
    print(f"delivery with {SMALL:,} waiting: {small:,.0f} requests/s")
    print(f"delivery with {LARGE:,} waiting: {large:,.0f} requests/s, ratio {large / small:.2f}")
    for name, (idle, busy) in memory.items():
        print(f"memory of {name}: {idle:.0f} MB idle, {busy:.0f} MB with the backlog")
    print(f"bridge status: {status:.2f} s")


def _measure(sandbox: Sandbox, count: int) -> tuple[float, dict[str, tuple[float, float]], float]:
    sandbox.reset()
    with bridge(sandbox) as running:
        running.start("serve")
        running.start("deliver")
        time.sleep(2)
        idle = _memory(running)
        running.stop("deliver")
        fill(running, count)
        running.start("deliver")
        wait_for(lambda: _delivered(sandbox) > 1000, "under way", 120)
        first, since = _delivered(sandbox), time.monotonic()
        wait_for(lambda: _delivered(sandbox) > first + MEASURED, "delivered", 240)
        speed = (_delivered(sandbox) - first) / (time.monotonic() - since)
        busy = _memory(running)
        asked = time.monotonic()
        running.status()
        return speed, {n: (idle[n], busy[n]) for n in idle}, time.monotonic() - asked


def _delivered(sandbox: Sandbox) -> int:
    events: int = sandbox.shown(limit=1)["totals"]["events"]
    return events


def _memory(running: Bridge) -> dict[str, float]:
    return {name: resident(process.pid) for name, process in running.processes.items()}
