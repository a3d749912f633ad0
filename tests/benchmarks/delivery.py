"""Unbatched delivery beside a bare thread pool over requests, and a view that forwards."""

import time
from concurrent.futures import ThreadPoolExecutor

import requests

from tests.benchmarks.load import press, request
from tests.benchmarks.setting import bridge, fill, gunicorn, rate, track
from tests.bridge_process import wait_for
from tests.sandbox_process import Sandbox, running_sandbox

THREADS = 32
LATENCY = 50
COUNT = 6000


def run() -> None:
    with running_sandbox() as sandbox:
        sandbox.fail(latency=LATENCY)
        pool = _pool(sandbox)
        ours = _courier(sandbox)
        url = sandbox.iterable
        with gunicorn(
            "tests.benchmarks.apps:forwarding",
            "--threads",
            "1",
            "-k",
            "sync",
            ITERABLE_BASE_URL=url,
        ) as p:
            calls = [request(p, "/v1/track", track(n)) for n in range(100)]
            sync = press(p, calls, THREADS, 4).rate
        with gunicorn("tests.benchmarks.apps:forwarding", ITERABLE_BASE_URL=url) as p:
            threaded = press(p, calls, THREADS, 4).rate
    print(f"stand-in with {LATENCY} ms latency, {THREADS} threads")
    print(f"bare thread pool over requests:  {pool:7,.0f} requests/s")
    print(f"the courier:                     {ours:7,.0f} requests/s, ratio {ours / pool:.2f}")
    print(f"a view that forwards, 2 workers: {sync:7,.0f} requests/s, {ours / sync:.1f} × that")
    print(f"the same with threads (gthread): {threaded:7,.0f} requests/s")


def _pool(sandbox: Sandbox) -> float:
    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=THREADS)
    session.mount("http://", adapter)

    def send(number: int) -> None:
        body = {"userId": f"user-{number}", "eventName": "Product Viewed", "dataFields": {}}
        session.post(
            f"{sandbox.iterable}/api/events/track", json=body, headers={"Api-Key": "k"}, timeout=10
        )

    with ThreadPoolExecutor(THREADS) as executor:
        list(executor.map(send, range(COUNT)))
    session.close()
    return rate(sandbox.received())


def _courier(sandbox: Sandbox) -> float:
    sandbox.reset()
    sandbox.fail(latency=LATENCY)
    with bridge(sandbox, BRIDGE_DELIVERY_THREADS=str(THREADS)) as running:
        fill(running, COUNT)
        running.start("deliver")
        wait_for(lambda: sandbox.shown(limit=1)["totals"]["events"] >= COUNT, "delivered", 120)
        time.sleep(0.2)
    return rate(sandbox.received())
