"""The README's five-minute tour is walked as it stands, and what it promises is looked for."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests

from app.settings import ROOT
from tests.bridge_process import clean_environment, free_port, wait_for

README = (ROOT / "README.md").read_text(encoding="utf-8")
# A block of the tour is fenced as ```sh tour NAME; `check_NAME` below knows what it promises.
STEPS = dict(re.findall(r"^```sh tour (\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL))


@dataclass
class Tour:
    """A running bridge with its sandbox, and what a reader of the README has in front of them."""

    folder: Path
    ports: Mapping[str, str]
    output: str = ""

    def walk(self, step: str) -> None:
        """Run a block of the tour as it stands, but for the ports and the place of the venv."""
        script = STEPS[step].replace(".venv/bin/bridge", f"{sys.executable} -m app.cli")
        for theirs, ours in self.ports.items():
            script = script.replace(f"127.0.0.1:{theirs}", f"127.0.0.1:{ours}")
        done = subprocess.run(
            ["sh", "-ec", script], cwd=self.folder, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        self.output = done.stdout

    def shown(self, port: str) -> Any:
        """What the stand-in has, read as the README says."""
        answer = requests.get(f"http://127.0.0.1:{self.ports[port]}/", timeout=10)
        return orjson.loads(answer.content)

    def iterable_has(self, event: str) -> Any:
        return [e for e in self.shown("9101")["events"] if e["eventName"] == event]

    def segment_has(self, event: str) -> Any:
        return [e for e in self.shown("9102")["events"] if e["event"] == event]

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", "status", "--json"],
            cwd=self.folder,
            capture_output=True,
            check=True,
        )
        shown: dict[str, Any] = orjson.loads(done.stdout)["outbound"]
        return shown


def check_send(tour: Tour) -> None:
    assert tour.output == '{"success":true}' * 4
    wait_for(lambda: tour.shown("9101")["purchases"], "the order arrives")
    shown = tour.shown("9101")
    (user,) = shown["users"]
    assert user["email"] == "ada@example.com"
    assert user["dataFields"]["phoneNumber"] == "+14155550100"
    assert user["dataFields"]["createdAt"] == "2023-12-24 00:00:00 +00:00"
    assert [event["eventName"] for event in shown["events"]] == ["Song Played", "Pricing page"]
    (purchase,) = shown["purchases"]
    assert (purchase["id"], purchase["total"]) == ("order-1", 25.5)


def check_iterable(tour: Tour) -> None:
    for promised in ("phoneNumber", "2023-12-24 00:00:00 +00:00", "Song Played", "Pricing page"):
        assert promised in tour.output


def check_webhooks(tour: Tour) -> None:
    assert tour.output == '{"success":true}' * 2
    wait_for(lambda: len(tour.shown("9102")["events"]) == 2, "both webhooks arrive")
    assert tour.segment_has("Push Opened")[0]["userId"] == "ada"
    assert tour.segment_has("Email Link Clicked")[0]["properties"]["campaignId"] == 43


def check_segment(tour: Tour) -> None:
    assert "Push Opened" in tour.output
    assert "Email Link Clicked" in tour.output


def check_refused(tour: Tour) -> None:
    assert " 400 " in tour.output.splitlines()[0]
    assert '"code":"no_identity"' in tour.output
    assert tour.status()["waiting"] == 0
    assert len(tour.iterable_has("Song Played")) == 1


def check_outage(tour: Tour) -> None:
    assert tour.output == '{"success":true}' * 2
    wait_for(lambda: tour.status()["state"] == "failing", "the outage is noticed")
    assert tour.iterable_has("Song Liked") == []


def check_status(tour: Tour) -> None:
    assert re.search(
        r"outbound iterable +1 +4 +0 +0 .* failing\n +events/track: http_503", tour.output
    )
    assert re.search(r"inbound segment +0 +2 +0 +0 ", tour.output)


def check_recovery(tour: Tour) -> None:
    wait_for(lambda: tour.iterable_has("Song Liked"), "the waiting event arrives")


def check_refusal(tour: Tour) -> None:
    assert tour.output == '{"success":true}' * 2
    wait_for(lambda: tour.status()["dead"] == 1, "the refused event is a dead letter")
    assert tour.iterable_has("Song Skipped") == []


def check_replay(tour: Tour) -> None:
    listed, replayed = tour.output.splitlines()
    assert " 400 " in listed
    assert replayed == "1 replayed"
    wait_for(lambda: tour.iterable_has("Song Skipped"), "the replayed event arrives")
    assert len(tour.iterable_has("Song Skipped")) == 1


def check_preview(tour: Tour) -> None:
    (request,) = orjson.loads(tour.output)
    assert request["path"] == "/api/events/track"
    assert request["body"]["dataFields"] == {"on": "2024-03-01 00:00:00 +00:00"}
    assert tour.iterable_has("Signed Up") == []


CHECKS: dict[str, Callable[[Tour], None]] = {
    name.removeprefix("check_"): check
    for name, check in list(globals().items())
    if name.startswith("check_")
}


def test_every_step_of_the_tour_is_checked():
    assert list(STEPS) == list(CHECKS)


@pytest.fixture
def tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tour]:
    """The bridge, started with the settings of the tour's first block, on ports of its own."""
    started = re.search(r"^```sh\n((?:[A-Z_]+=\S+ )+)make run\n```", README, re.MULTILINE)
    assert started, "README does not say how to start for the tour"
    bind, iterable, segment = (f"127.0.0.1:{free_port()}" for _ in range(3))
    environ = clean_environment() | {
        "BRIDGE_BIND": bind,
        "ITERABLE_BASE_URL": f"http://{iterable}",
        "SEGMENT_HOST": f"http://{segment}",
        **dict(setting.split("=") for setting in started.group(1).split()),
    }
    for name in set(os.environ) - set(environ):
        monkeypatch.delenv(name)
    # Its output is pytest's to capture, and to show when something fails.
    command = [sys.executable, "-m", "app.cli", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environ)
    try:
        for address in (f"{bind}/health/ready", iterable, segment):
            wait_for(partial(answers, f"http://{address}", process), f"{address} answers")
        ports = (address.rpartition(":")[2] for address in (bind, iterable, segment))
        yield Tour(tmp_path, dict(zip(("8000", "9101", "9102"), ports, strict=True)))
    finally:
        process.terminate()
        assert process.wait(60) == 0


def answers(url: str, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, "`bridge run` ended"
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False


@pytest.mark.skipif(not shutil.which("curl"), reason="the README's tour needs curl")
def test_tour_shows_what_the_readme_promises(tour):
    for step, check in CHECKS.items():
        tour.walk(step)
        check(tour)
