"""Batched delivery against the published limit of 10 × 1,000 events a second."""

import time

from tests.benchmarks.setting import bridge, cpu_seconds, fill, rate
from tests.bridge_process import wait_for
from tests.sandbox_process import running_sandbox

COUNT = 80_000
PUBLISHED = 10 * 1000


def run() -> None:
    with running_sandbox() as sandbox:
        sandbox.fail(limits="published")
        with bridge(sandbox, ITERABLE_BATCHING="true") as running:
            fill(running, COUNT)
            running.start("deliver")
            pid = running.processes["deliver"].pid
            wait_for(lambda: sandbox.shown(limit=1)["totals"]["events"] > 5_000, "under way", 120)
            cpu, since = cpu_seconds(pid), time.monotonic()
            wait_for(lambda: sandbox.shown(limit=1)["totals"]["events"] >= COUNT, "delivered", 240)
            busy = (cpu_seconds(pid) - cpu) / (time.monotonic() - since)
        entries = sandbox.received()
        shown = sandbox.shown(limit=1)
    refused = sum(entry["status"] == 429 for entry in entries)
    size = COUNT / sum(entry["status"] == 200 for entry in entries)
    events = rate([entry for entry in entries if entry["status"] == 200]) * size
    print(f"delivered: {events:,.0f} events/s in requests of {size:,.0f}, {refused} answered 429")
    print(f"published limit: {PUBLISHED:,} events/s, so {events / PUBLISHED:.0%} of it")
    print(f"busiest sliding second: {shown['busiest']}")
    print(
        f"the courier used {busy:.0%} of one core: "
        + ("the CPU is the limit" if busy > 0.85 else "the partner's limit is the limit")
    )
