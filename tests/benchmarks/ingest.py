"""Durable ingest beside an empty Flask view, both under the same gunicorn settings."""

from tests.benchmarks.load import Load, press, request
from tests.benchmarks.setting import bridge, gunicorn, settle, track
from tests.sandbox_process import running_sandbox

CONNECTIONS = 32
SECONDS = 2.5
ROUNDS = 5


def run() -> None:
    with running_sandbox() as sandbox, bridge(sandbox) as running:
        running.start("serve")
        with gunicorn("tests.benchmarks.apps:empty") as port:
            singles = [request(running.port, "/v1/track", track(n)) for n in range(2000)]
            batch = {"batch": [track(n) for n in range(100)]}
            batches = [request(running.port, "/v1/batch", batch)]
            loads = [
                [
                    _press(port, singles, CONNECTIONS),
                    _press(running.port, singles, CONNECTIONS),
                    _press(running.port, batches, 8),
                ]
                for _ in range(ROUNDS)
            ]
    # Medians: the machine's other guests slow down one or the other press.
    empty, single, batched = (
        sorted(kind, key=lambda load: load.rate)[ROUNDS // 2] for kind in zip(*loads, strict=True)
    )
    print(f"empty Flask view:        {empty.rate:8,.0f} requests/s")
    print(
        f"durable single calls:    {single.rate:8,.0f} requests/s, "
        f"ratio {single.rate / empty.rate:.2f}"
    )
    print(
        f"  latency at {CONNECTIONS} connections: p50 {single.percentile(0.5):.1f} ms, "
        f"p99 {single.percentile(0.99):.1f} ms"
    )
    calls = batched.rate * 100
    print(f"/v1/batch of 100:        {calls:8,.0f} calls/s, {calls / single.rate:.1f} × single")
    failures = sum(load.failures for each in loads for load in each)
    print(f"answers that were not 200: {failures}")


def _press(port: int, requests: list[bytes], connections: int) -> Load:
    settle()
    return press(port, requests, connections, SECONDS)
