"""Pulling the plug, over and over, under load, with partners that fail in every way they can.

A short form runs with the other tests; `make chaos` runs 200 rounds (CHAOS_ROUNDS changes that).
"""

import os
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.bridge_process import Bridge, wait_for
from tests.sandbox_process import SEGMENT, Sandbox, running_sandbox
from tests.traffic import PAGES, arrived, call, check_arrivals, webhook

SENDERS = 4
PERSONS_EACH = 10
FAILURES: tuple[dict[str, Any], ...] = (
    {"share": 0.10, "status": 429, "seed": 1},
    {"share": 0.10, "status": 500, "seed": 2},
    {"share": 0.05, "cut": True, "seed": 3},
    {"share": 0.05, "cut": True, "processed": True, "seed": 4},
    {"share": 0.01, "hang": True, "seed": 5},
)


class Sender(threading.Thread):
    """Sends its persons' calls and webhooks one after another, each until it is acknowledged."""

    def __init__(self, bridge: Bridge, number: int) -> None:
        super().__init__(name=f"sender-{number}")
        self.acknowledged: list[dict[str, Any]] = []
        self.webhooks: set[tuple[str, int]] = set()
        self.stop = threading.Event()
        self.failure: BaseException | None = None
        self._url = bridge.url
        self._persons = range(number * PERSONS_EACH, (number + 1) * PERSONS_EACH)

    def run(self) -> None:
        number = 0
        with requests.Session() as session:
            while not self.stop.is_set():
                for person in self._persons:
                    one, hook = call(person, number), webhook(person, number)
                    if self._send(session, f"/v1/{one['type']}", one):
                        self.acknowledged.append(one)
                    if number % 5 == 0 and self._send(session, "/iterable", hook):
                        self.webhooks.add((hook["userId"], number))
                number += 1

    def _send(self, session: requests.Session, path: str, body: Mapping[str, Any]) -> bool:
        """Send until the bridge acknowledges it; only then does the person's next one follow."""
        while True:
            try:
                answer = session.post(f"{self._url}{path}", json=body, timeout=10)
                if answer.status_code == 200:
                    return True
                assert answer.status_code == 503, answer.text
            except requests.RequestException:
                pass
            if self.stop.wait(0.05):
                return False


def storm(bridge: Bridge, sandbox: Sandbox, rounds: int, chance: random.Random) -> list[Sender]:
    """Kill the web server and the courier in turn while the senders send."""
    for partner in ("iterable", SEGMENT):
        for order in FAILURES:
            sandbox.fail(**order, partner=partner)
    bridge.start("serve")
    bridge.start("deliver")
    senders = [Sender(bridge, number) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    for number in range(rounds):
        time.sleep(chance.uniform(0.2, 1.5))
        victim = ("serve", "deliver")[number % 2]
        bridge.kill(victim)
        bridge.start(victim)
    for sender in senders:
        sender.stop.set()
    for sender in senders:
        sender.join()
    for partner in ("iterable", SEGMENT):
        sandbox.heal(partner)
    return senders


def weather(tmp_path: Path, rounds: int, patience: float, **log: str) -> None:
    """The storm, and what must be true after it; `log` are settings of another log than SQLite."""
    chance = random.Random(7)
    with running_sandbox() as sandbox:
        settings = {
            "ITERABLE_API_KEY": "key",
            "ITERABLE_BASE_URL": sandbox.iterable,
            "ITERABLE_TIMEOUT": "2s",
            "SEGMENT_WRITE_KEY": "key",
            "SEGMENT_HOST": sandbox.segment,
            **PAGES,
            **log,
        }
        with Bridge(tmp_path, settings) as bridge:
            senders = storm(bridge, sandbox, rounds, chance)
            sent = [one for sender in senders for one in sender.acknowledged]
            webhooks = {one for sender in senders for one in sender.webhooks}
            assert len(sent) > 20 * rounds, "too little load to prove anything"
            wait_for(bridge.drained, "everything is delivered", patience)
            entries = sandbox.received()
            repeats = check_arrivals(entries, known_to(sent, entries))
            events = sandbox.events()
            status = bridge.status()
    assert {(e["userId"], e["properties"]["number"]) for e in events} >= webhooks, "webhooks lost"
    assert len({e["messageId"] for e in events}) == len(events)
    assert status["outbound"]["dead"] == status["inbound"]["dead"] == 0
    print(  # noqa: T201 # the figures of a long run are what it is for
        f"\n{rounds} kills: {len(sent)} calls and {len(webhooks)} webhooks acknowledged, "
        f"all delivered, {repeats} requests repeated"
    )


def known_to(sent: list[dict[str, Any]], entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`sent`, and the calls whose acknowledgement was lost with the killed web server."""
    found = {arrived(entry)[:2] for entry in entries if entry["status"] == 200}
    numbers = {(one["userId"], int(one["messageId"].rsplit("-", 1)[1])) for one in sent}
    unheard = [call(int(person.removeprefix("user-")), n) for person, n in found - numbers]
    # At most the one call each sender was sending when it was told to stop.
    assert len(unheard) <= SENDERS
    return sent + unheard


def test_nothing_acknowledged_is_lost_through_six_kills(tmp_path: Path) -> None:
    weather(tmp_path, rounds=6, patience=120)


@pytest.mark.chaos
def test_nothing_acknowledged_is_lost_through_many_kills(tmp_path: Path) -> None:
    weather(tmp_path, rounds=int(os.environ.get("CHAOS_ROUNDS", "200")), patience=600)
