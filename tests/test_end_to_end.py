"""Both directions over real sockets and real processes: gunicorn, courier, SQLite, stand-ins."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge_process import Bridge, wait_for
from tests.sandbox_process import SEGMENT, Sandbox
from tests.traffic import PAGES, calls, check_arrivals, webhook


@pytest.fixture
def bridge(tmp_path: Path, sandbox: Sandbox) -> Iterator[Bridge]:
    settings = {
        "ITERABLE_API_KEY": "key",
        "ITERABLE_BASE_URL": sandbox.iterable,
        "SEGMENT_WRITE_KEY": "key",
        "SEGMENT_HOST": sandbox.segment,
        **PAGES,
    }
    with Bridge(tmp_path, settings) as running:
        running.start("serve")
        yield running


def test_delivers_500_mixed_calls_and_100_webhooks_in_each_persons_order(
    bridge: Bridge, sandbox: Sandbox
) -> None:
    bridge.start("deliver")
    sent = calls(persons=25, each=20)
    for one in sent[:100]:
        assert bridge.post(f"/v1/{one['type']}", one).json() == {"success": True}
    answer = bridge.post("/v1/batch", {"batch": sent[100:300]}).json()
    assert answer == {"success": True, "accepted": 200, "rejected": []}
    assert bridge.post("/segment", sent[300:]).json()["accepted"] == 200
    for number in range(100):
        assert bridge.post("/iterable", webhook(number % 10, number)).status_code == 200
    wait_for(bridge.drained, "everything is delivered")
    assert check_arrivals(sandbox.received(), sent) == 0
    events = sandbox.events()
    assert {event["event"] for event in events} == {"Push Opened"}
    assert sorted(event["properties"]["number"] for event in events) == list(range(100))
    status = bridge.status()
    assert (status["outbound"]["delivered"], status["inbound"]["delivered"]) == (500, 100)


def test_loses_nothing_when_the_courier_is_killed_in_the_middle(
    bridge: Bridge, sandbox: Sandbox
) -> None:
    sandbox.fail(latency=20)
    sent = calls(persons=100, each=20)
    for start in range(0, len(sent), 500):
        assert bridge.post("/v1/batch", {"batch": sent[start : start + 500]}).status_code == 200
    bridge.start("deliver")
    wait_for(lambda: len(sandbox.received()) > 400, "delivery is under way")
    bridge.kill("deliver")
    before = len(sandbox.received())
    assert before < len(sent), "killed too late to prove anything"
    bridge.start("deliver")
    wait_for(bridge.drained, "everything is delivered")
    repeats = check_arrivals(sandbox.received(), sent)
    assert repeats < 200, "the commits are too far behind"


def test_a_repeat_of_a_call_is_not_delivered_again(bridge: Bridge, sandbox: Sandbox) -> None:
    bridge.start("deliver")
    sent = calls(persons=2, each=5)
    for _ in range(3):
        assert bridge.post("/v1/batch", {"batch": sent}).status_code == 200
    wait_for(bridge.drained, "everything is delivered")
    assert check_arrivals(sandbox.received(), sent) == 0
    assert bridge.status()["outbound"]["discarded"] == 20


def test_a_call_without_identity_is_refused_and_never_reaches_iterable(
    bridge: Bridge, sandbox: Sandbox
) -> None:
    bridge.start("deliver")
    refused = bridge.post("/v1/track", {"event": "Thing Done"})
    assert (refused.status_code, refused.json()["code"]) == (400, "no_identity")
    time.sleep(0.5)
    assert sandbox.received() == []
    assert bridge.status()["outbound"]["waiting"] == 0


def test_a_refused_key_holds_the_direction_and_burns_nothing(
    bridge: Bridge, sandbox: Sandbox
) -> None:
    sandbox.fail(status=401)
    bridge.start("deliver")
    sent = calls(persons=5, each=5)
    assert bridge.post("/v1/batch", {"batch": sent}).status_code == 200
    wait_for(lambda: bridge.status()["outbound"]["state"] == "held", "the hold is shown")
    assert bridge.is_up()
    sandbox.heal()
    bridge.stop("deliver")
    bridge.start("deliver")
    wait_for(bridge.drained, "everything is delivered")
    assert check_arrivals(sandbox.received(), sent) == 0
    assert bridge.status()["outbound"]["dead"] == 0


def test_events_of_iterable_that_segment_sends_back_cause_no_request(
    bridge: Bridge, sandbox: Sandbox
) -> None:
    sandbox.tell("/forward", {"url": f"{bridge.url}/segment"}, SEGMENT)
    bridge.start("deliver")
    assert bridge.post("/iterable", webhook(1, 1)).status_code == 200
    wait_for(lambda: sandbox.shown(SEGMENT)["forwarded"], "the event is sent back")
    time.sleep(0.5)
    assert len(sandbox.events()) == 1
    assert sandbox.received() == []


def test_a_refused_mobile_key_holds_up_token_registrations_only(
    bridge: Bridge, sandbox: Sandbox
) -> None:
    bridge.settings["ITERABLE_MOBILE_API_KEY"] = "mobile"
    sandbox.fail(match="registerDeviceToken", status=401)
    bridge.stop("serve")
    bridge.start("serve")
    bridge.start("deliver")
    context = {"device": {"token": "t1", "type": "ios"}, "app": {"name": "shop"}}
    for number in range(3):
        call = {"userId": f"u{number}", "context": context, "traits": {"name": "Anna"}}
        assert bridge.post("/v1/identify", call).status_code == 200
    wait_for(
        lambda: bridge.status()["outbound"]["groups"]["iterable-mobile"]["state"] == "held",
        "the hold is shown",
    )
    groups = wait_for(
        lambda: (
            (found := bridge.status()["outbound"]["groups"])["iterable"]["delivered"] == 3 and found
        ),
        "profiles are delivered all the same",
    )
    assert (groups["iterable"]["state"], groups["iterable-mobile"]["waiting"]) == ("ok", 3)
    sandbox.heal()
    bridge.stop("deliver")
    bridge.start("deliver")
    wait_for(
        lambda: bridge.status()["outbound"]["groups"]["iterable-mobile"]["waiting"] == 0,
        "the tokens are registered",
    )
    counts = [entry for entry in sandbox.received() if entry["status"] == 200]
    paths = sorted(entry["path"] for entry in counts)
    assert paths == ["/api/users/registerDeviceToken"] * 3 + ["/api/users/update"] * 3
