"""From acknowledged to delivered, at half of the load that can be reached."""

import time
from threading import Thread

import requests

from tests.benchmarks.setting import bridge, track
from tests.bridge_process import wait_for
from tests.sandbox_process import running_sandbox

SENDERS = 4
SECONDS = 8.0


def run() -> None:
    with running_sandbox() as sandbox, bridge(sandbox) as running:
        running.start("serve")
        running.start("deliver")
        # All that this machine can do, with the stand-in and the senders on it too.
        full = _send(running.url, None, 4.0, 0)
        wait_for(running.drained, "the load is gone", 120)
        before = len(sandbox.received())
        reachable = before / (
            max(e["at"] for e in sandbox.received()) - min(e["at"] for e in sandbox.received())
        )
        acknowledged = _send(running.url, reachable / 2, SECONDS, 1_000_000)
        wait_for(running.drained, "the load is gone", 120)
        entries = sandbox.received(after=before)
    arrived = {entry["body"]["id"]: entry["at"] for entry in entries}
    waits = sorted(arrived[i] - at for i, at in acknowledged.items())
    print(f"reachable from end to end: {reachable:,.0f} calls/s ({len(full)} sent at full speed)")
    print(
        f"at {len(waits) / SECONDS:,.0f} calls/s, from acknowledged to arrived: "
        f"median {waits[len(waits) // 2] * 1000:.0f} ms, "
        f"p99 {waits[int(len(waits) * 0.99)] * 1000:.0f} ms"
    )


def _send(url: str, total_rate: float | None, seconds: float, first: int) -> dict[str, float]:
    """Send for `seconds`; return when each message was acknowledged."""
    acknowledged: dict[str, float] = {}

    def sender(number: int) -> None:
        with requests.Session() as session:
            start = time.monotonic()
            count = 0
            while (now := time.monotonic()) < start + seconds:
                if total_rate and count > (now - start) * total_rate / SENDERS:
                    time.sleep(0.002)
                    continue
                call = track(first + number * 100_000 + count)
                session.post(f"{url}/v1/track", json=call, timeout=10).raise_for_status()
                acknowledged[call["messageId"]] = time.time()
                count += 1

    threads = [Thread(target=sender, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return acknowledged
