"""Durable ingest beside an empty Flask view, both under the same gunicorn settings."""

from tests.benchmarks.load import press, request
from tests.benchmarks.setting import bridge, gunicorn, settle, track
from tests.sandbox_process import running_sandbox

CONNECTIONS = 32
SECONDS = 4.0
ROUNDS = 2


def run() -> None:
    with running_sandbox() as sandbox, bridge(sandbox) as running:
        running.start("serve")
        with gunicorn("tests.benchmarks.apps:empty") as port:
            singles = [request(running.port, "/v1/track", track(n)) for n in range(2000)]
            ours, empty = [], []
            for _ in range(ROUNDS):
                settle()
                empty.append(press(port, singles, CONNECTIONS, SECONDS))
                settle()
                ours.append(press(running.port, singles, CONNECTIONS, SECONDS))
        batch = {"batch": [track(n) for n in range(100)]}
        batches = press(running.port, [request(running.port, "/v1/batch", batch)], 8, SECONDS)
    best_empty = max(load.rate for load in empty)
    best = max(ours, key=lambda load: load.rate)
    print(f"empty Flask view:        {best_empty:8,.0f} requests/s")
    print(
        f"durable single calls:    {best.rate:8,.0f} requests/s, ratio {best.rate / best_empty:.2f}"
    )
    print(
        f"  latency at {CONNECTIONS} connections: p50 {best.percentile(0.5):.1f} ms, "
        f"p99 {best.percentile(0.99):.1f} ms"
    )
    calls = batches.rate * 100
    print(f"/v1/batch of 100:        {calls:8,.0f} calls/s, {calls / best.rate:.1f} × single")
    failures = sum(load.failures for load in (*ours, *empty, batches))
    print(f"answers that were not 200: {failures}")
