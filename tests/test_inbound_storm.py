"""10,000 webhooks to a Segment that fails in every way before it takes them."""

from pathlib import Path

from tests.bridge_process import Bridge, wait_for
from tests.sandbox_process import SEGMENT, Sandbox, running_sandbox
from tests.traffic import webhook

COUNT = 10_000
PERSONS = 2_000


def test_10000_webhooks_survive_429_500_and_cut_connections_with_their_ids(tmp_path: Path) -> None:
    with running_sandbox() as sandbox:
        sandbox.fail(
            {"status": 429, "retry_after": 1, "times": 4},
            {"status": 500, "times": 6},
            {"cut": True, "times": 4},
            {"cut": True, "processed": True, "times": 4},
            partner=SEGMENT,
        )
        settings = {"SEGMENT_WRITE_KEY": "key", "SEGMENT_HOST": sandbox.segment}
        with Bridge(tmp_path, settings) as bridge:
            bridge.start("serve")
            for start in range(0, COUNT, 1000):
                webhooks = [webhook(n % PERSONS, n) for n in range(start, start + 1000)]
                answer = bridge.post("/iterable", webhooks)
                assert (answer.status_code, answer.json()["accepted"]) == (200, 1000)
            bridge.start("deliver")
            wait_for(bridge.drained, "everything is delivered", 120)
            assert bridge.status()["inbound"]["dead"] == 0
        check(sandbox)


def check(sandbox: Sandbox) -> None:
    events = sandbox.events()
    numbers = [event["properties"]["number"] for event in events]
    assert sorted(numbers) == list(range(COUNT)), "lost, or twice with different ids"
    assert len({event["messageId"] for event in events}) == COUNT
    statuses = {entry["status"] for entry in sandbox.received(SEGMENT)}
    assert {429, 500, 200} <= statuses, "the storm did not happen"
