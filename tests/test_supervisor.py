"""`bridge run` keeps its processes alive, and they end with it, however it ends."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge_process import Bridge, free_port, wait_for


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Bridge]:
    addresses = {
        "ITERABLE_BASE_URL": f"http://127.0.0.1:{free_port()}",
        "SEGMENT_HOST": f"http://127.0.0.1:{free_port()}",
        "BRIDGE_WEB_WORKERS": "1",
    }
    with Bridge(tmp_path, addresses) as bridge:
        bridge.start("run")
        wait_for(bridge.is_up, "the web server answers")
        yield bridge


def children(bridge: Bridge) -> dict[str, int]:
    """The processes of `bridge run`, by what they do."""
    pid = bridge.processes["run"].pid
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        command = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        if len(command) > 3:  # one that is dead and not yet buried has none
            found["serve" if "wsgi:app" in command else command[3]] = int(child)
    return found


def all_three(bridge: Bridge) -> dict[str, int]:
    def found() -> dict[str, int] | None:
        now = children(bridge)
        return now if now.keys() == {"serve", "deliver", "sandbox"} else None

    processes: dict[str, int] = wait_for(found, "all three run")
    return processes


def test_a_process_that_is_killed_is_started_again(running: Bridge) -> None:
    before = all_three(running)
    os.kill(before["deliver"], signal.SIGKILL)
    wait_for(
        lambda: children(running).get("deliver", before["deliver"]) != before["deliver"],
        "delivery runs again",
    )
    call = {"userId": "u1", "event": "Seen"}
    assert running.post("/v1/track", call).status_code == 200
    wait_for(lambda: running.status()["outbound"]["delivered"] == 1, "the call is delivered")


def test_its_processes_end_when_it_is_killed(running: Bridge) -> None:
    pids = all_three(running)
    process = running.processes.pop("run")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(map(alive, pids.values())), "all have ended")


def test_a_process_that_cannot_start_ends_it_with_a_reason(tmp_path: Path) -> None:
    with Bridge(tmp_path, {"BRIDGE_LOG": "sqlite:////proc/nowhere/bridge.db"}) as bridge:
        bridge.start("run")
        assert bridge.processes.pop("run").wait(60) == 1
    assert "keeps ending" in (tmp_path / "run.log").read_text()


def alive(pid: int) -> bool:
    """Whether a process runs (one that is dead and not yet buried does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
