"""The bridge as its users run it: gunicorn, courier and SQLite, in a folder of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import requests

# Generous, because the machine that runs the tests may be busy; seconds.
PATIENCE = 60.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(ready: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Call `ready` until it returns something true; fail with `what` when it does not in time."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := ready():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {patience} s")


class Bridge:
    """Web server and delivery as two processes, started, stopped and killed at will."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = {
            "BRIDGE_BIND": f"127.0.0.1:{self.port}",
            "BRIDGE_LOG": f"sqlite:///{folder}/bridge.db",
            "BRIDGE_ALLOW_UNAUTHENTICATED": "true",
            "BRIDGE_WEB_THREADS": "16",
            **settings,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.session = requests.Session()

    def __enter__(self) -> "Bridge":
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()
        for name in list(self.processes):
            self.stop(name)

    def start(self, command: str, name: str = "") -> None:
        """Start `bridge COMMAND`; `serve` is waited for until it answers."""
        with (self.folder / f"{name or command}.log").open("ab") as output:
            self.processes[name or command] = subprocess.Popen(
                [sys.executable, "-m", "app.cli", command],
                cwd=self.folder,
                env={**clean_environment(), **self.settings},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if command == "serve":
            wait_for(self.is_up, "the web server answers")

    def is_up(self) -> bool:
        """Whether the web server answers."""
        try:
            return requests.get(f"{self.url}/health/ready", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def stop(self, name: str) -> int:
        """End a process gracefully and return its exit status."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            return process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise

    def kill(self, name: str) -> None:
        """SIGKILL a process with all its children, as a power cut would."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def post(self, path: str, body: Any, **options: Any) -> requests.Response:
        """Send `body` as JSON."""
        return self.session.post(f"{self.url}{path}", json=body, timeout=30, **options)

    def status(self) -> dict[str, Any]:
        """What `bridge status --json` prints."""
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", "status", "--json"],
            cwd=self.folder,
            env={**clean_environment(), **self.settings},
            capture_output=True,
            check=True,
        )
        shown: dict[str, Any] = orjson.loads(done.stdout)
        return shown

    def drained(self) -> bool:
        """Whether nothing waits any more in either direction."""
        return all(direction["waiting"] == 0 for direction in self.status().values())


def clean_environment() -> dict[str, str]:
    """The environment without any setting of the bridge that the machine may have."""
    from app.settings import NAMES

    return {name: value for name, value in os.environ.items() if name not in NAMES}
