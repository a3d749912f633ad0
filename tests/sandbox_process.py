"""Both stand-ins in a real child process, for the tests that need a partner."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from app.sandbox.main import serve

ROOT = Path(__file__).resolve().parent.parent
ITERABLE, SEGMENT = "iterable", "segment"
PAGE = 5000


class Sandbox:
    """The base URLs of the stand-ins, `iterable` and `segment`, and what can be told and asked."""

    def __init__(self, iterable: str, segment: str, process: "subprocess.Popen[str]") -> None:
        self.iterable = iterable
        self.segment = segment
        self.process = process
        self._session = requests.Session()

    def received(self, partner: str = ITERABLE, after: int = 0) -> list[dict[str, Any]]:
        """Every request since entry `after`, in the order of arrival."""
        entries: list[dict[str, Any]] = []
        while True:
            page = self._get(partner, "/journal", after=after, limit=PAGE)["requests"]
            entries += page
            if len(page) < PAGE:
                return entries
            after = page[-1]["number"]

    def shown(self, partner: str = ITERABLE, limit: int = 50) -> dict[str, Any]:
        """What `GET /` shows; of anything long the newest `limit`."""
        return self._get(partner, "/", limit=limit)

    def events(self) -> list[dict[str, Any]]:
        """Everything that the stand-in Segment took, once each."""
        events: list[dict[str, Any]] = self.shown(SEGMENT, limit=200_000)["events"]
        return events

    def fail(self, *sequence: dict[str, Any], partner: str = ITERABLE, **order: Any) -> None:
        """Order a failure, or with several orders one after another: see `app.sandbox.faults`."""
        self.tell("/faults", {"sequence": sequence, **order} if sequence else order, partner)

    def heal(self, partner: str = ITERABLE) -> None:
        """End all failures."""
        self._session.delete(f"{self._url(partner)}/faults", timeout=10).raise_for_status()

    def tell(self, path: str, order: Any, partner: str = ITERABLE) -> None:
        """Give an order: `/project`, `/keys`, `/forward`, `/journal`."""
        answer = self._session.post(self._url(partner) + path, json=order, timeout=10)
        assert answer.status_code == 200, answer.text

    def reset(self) -> None:
        """Both are as new."""
        self.tell("/reset", {}, ITERABLE)
        self.tell("/reset", {}, SEGMENT)

    def close(self) -> None:
        """End the process as a user would, and wait for it."""
        self._session.close()
        self.process.terminate()
        self.process.communicate(timeout=20)

    def _url(self, partner: str) -> str:
        return {ITERABLE: self.iterable, SEGMENT: self.segment}[partner]

    def _get(self, partner: str, path: str, **query: int) -> dict[str, Any]:
        answer = self._session.get(self._url(partner) + path, params=query, timeout=60)
        answer.raise_for_status()
        state: dict[str, Any] = answer.json()
        return state


@contextmanager
def running_sandbox(iterable_port: int = 0, segment_port: int = 0) -> Iterator[Sandbox]:
    """Both stand-ins, ready; ended on leaving."""
    command = [sys.executable, "-m", "tests.sandbox_process", str(iterable_port), str(segment_port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    announced = process.stdout.readline()
    if not announced:
        process.communicate(timeout=20)
        raise RuntimeError("the sandbox did not start")
    iterable, segment = json.loads(announced)
    sandbox = Sandbox(iterable, segment, process)
    try:
        yield sandbox
    finally:
        sandbox.close()


def _announce(iterable: str, segment: str) -> None:
    sys.stdout.write(json.dumps([iterable, segment]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]), announce=_announce)
