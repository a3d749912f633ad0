"""One bad entry never costs a good one: a batch of which some fail, through the real courier."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests

from tests.bridge_process import Bridge, clean_environment, wait_for
from tests.sandbox_process import Sandbox, running_sandbox

GOOD = 963


def track(number: int, event: str = "Seen", **identity: Any) -> dict[str, Any]:
    email = identity.pop("email", None)
    context = {"traits": {"email": email}} if email else {}
    return {
        "type": "track",
        "event": event,
        "messageId": f"message-{number}",
        "timestamp": "2026-03-01T09:30:00Z",
        "context": context,
        "properties": {},
        **identity,
    }


def bad_calls() -> list[tuple[str, dict[str, Any]]]:
    """37 calls that Iterable refuses in eight ways, each with the reason that its letter gives."""
    found: list[tuple[str, dict[str, Any]]] = []

    def add(count: int, reason: str, **made: Any) -> None:
        for _ in range(count):
            number = 5000 + len(found)
            fields = {k: v.format(number) if isinstance(v, str) else v for k, v in made.items()}
            found.append((reason, track(number, **fields)))

    add(5, "invalid_email", email="broken{}@nowhere")
    add(5, "invalid_user_id", userId="u{}" + "x" * 60)
    add(5, "unknown_user", email="stranger{}@example.com")
    add(5, "unknown_user", userId="stranger-{}")
    add(5, "event_disallowed", email="known1@example.com", event="Secret")
    add(5, "forgotten_user", email="forgotten@example.com")
    add(5, "forgotten_user", userId="forgotten")
    add(2, "too_large", email="known2@example.com", properties={"text": "x" * 4_100_000})
    return found


def letters(bridge: Bridge) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "dead", "list", "--json"],
        cwd=bridge.folder,
        env={**clean_environment(), **bridge.settings},
        capture_output=True,
        check=True,
    )
    return [orjson.loads(line) for line in done.stdout.splitlines()]


def prepare(sandbox: Sandbox) -> None:
    """An email-based project with some users, one of them forgotten, and a name it refuses."""
    sandbox.tell("/project", {"type": "email", "disallowed_events": ["Secret"]})
    users: list[dict[str, str]] = [{"email": f"known{n}@example.com"} for n in range(GOOD)]
    users.append({"email": "forgotten@example.com", "userId": "forgotten"})
    key = {"Api-Key": "key"}
    url = f"{sandbox.iterable}/api/users"
    requests.post(f"{url}/bulkUpdate", json={"users": users}, headers=key, timeout=10)
    forget = {"email": "forgotten@example.com"}
    requests.post(f"{url}/forget", json=forget, headers=key, timeout=10).raise_for_status()


@pytest.mark.parametrize("batching", ["true", "false"])
def test_of_1000_calls_37_fail_for_eight_reasons_and_963_arrive_once(
    tmp_path: Path, batching: str
) -> None:
    bad = bad_calls()
    good = [track(n, email=f"known{n}@example.com") for n in range(GOOD)]
    with running_sandbox() as sandbox:
        prepare(sandbox)
        settings = {
            "ITERABLE_API_KEY": "key",
            "ITERABLE_BASE_URL": sandbox.iterable,
            "ITERABLE_PROJECT_TYPE": "email",
            "ITERABLE_BATCHING": batching,
            "BRIDGE_MAX_ATTEMPTS": "3",
        }
        with Bridge(tmp_path, settings) as bridge:
            bridge.start("serve")
            # The bad ones stand among the good ones.
            mixed = good.copy()
            for place, (_, call) in enumerate(bad):
                mixed.insert(place * 26, call)
            small = [call for call in mixed if len(orjson.dumps(call)) < 10_000]
            assert bridge.post("/v1/batch", {"batch": small}).json()["rejected"] == []
            for call in mixed:
                if call not in small:
                    assert bridge.post("/v1/track", call).status_code == 200
            bridge.start("deliver")
            wait_for(bridge.drained, "everything is settled")
            dead = letters(bridge)
            status = bridge.status()["outbound"]
        events = sandbox.shown(limit=200_000)["events"]
    assert Counter(one["reason"] for one in dead) == Counter(reason for reason, _ in bad)
    assert (status["delivered"], status["dead"]) == (GOOD, len(bad))
    assert {event["id"] for event in events} == {call["messageId"] for call in good}
    assert [event["id"] for event in events if event["repeats"]] == []
