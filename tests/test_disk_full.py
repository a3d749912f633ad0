"""A full disk: senders come back later, nothing is corrupt, all goes on once there is room."""

import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bridge_process import Bridge, wait_for
from tests.sandbox_process import running_sandbox
from tests.traffic import PAGES, call, check_arrivals

# The log, its WAL and all else that the web server may write: no file may grow beyond this.
FULL = 2_000_000


def family(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from family(int(child))


def limit_files(bridge: Bridge, size: int) -> None:
    for pid in family(bridge.processes["serve"].pid):
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def check_singles(bridge: Bridge) -> list[dict[str, Any]]:
    """Send single calls until one is refused, as it must be; return those that were taken."""
    taken = []
    for number in range(100):
        single = {**call(100, number), "context": {"padding": "x" * 20_000}}
        path, headers = f"/v1/{single['type']}", {"Origin": "https://shop.example"}
        answer = bridge.post(path, single, headers=headers)
        if answer.status_code != 200:
            break
        taken.append(single)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert answer.json()["code"] == "log_unavailable"
    return taken


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux can change a limit so")
def test_a_full_disk_answers_503_corrupts_nothing_and_recovers(tmp_path: Path) -> None:
    with running_sandbox() as sandbox:
        settings = {"ITERABLE_API_KEY": "key", "ITERABLE_BASE_URL": sandbox.iterable, **PAGES}
        with Bridge(tmp_path, settings) as bridge:
            bridge.start("serve")
            limit_files(bridge, FULL)
            acknowledged, number = [], 0
            while True:
                batch = [
                    {**call(person, number), "context": {"padding": "x" * 2000}}
                    for person in range(50)
                ]
                answer = bridge.post("/v1/batch", {"batch": batch})
                if answer.status_code != 200:
                    break
                acknowledged += batch
                number += 1
                assert number < 200, "the limit does not bite"
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.json()["code"] == "log_unavailable"
            assert bridge.session.get(f"{bridge.url}/health/live", timeout=10).ok
            acknowledged += check_singles(bridge)

            limit_files(bridge, resource.RLIM_INFINITY)
            assert bridge.post("/v1/batch", {"batch": batch}).status_code == 200
            acknowledged += batch
            bridge.start("deliver")
            wait_for(bridge.drained, "everything is delivered")
            check_arrivals(sandbox.received(), acknowledged)
    database = sqlite3.connect(tmp_path / "bridge.db")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
