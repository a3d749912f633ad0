"""Rate limits over several courier processes together, counted by the partner itself."""

from pathlib import Path

from tests.bridge_process import Bridge, wait_for
from tests.sandbox_process import running_sandbox

LIMIT = 100
COUNT = 600
TRACK = "/api/events/track"


def test_three_couriers_together_never_exceed_a_limit_in_any_second(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/bridge.toml").write_text(f'[limits]\n"events/track" = {LIMIT}\n')
    with running_sandbox() as sandbox:
        sandbox.fail(limits={TRACK: LIMIT})
        settings = {"ITERABLE_API_KEY": "key", "ITERABLE_BASE_URL": sandbox.iterable}
        with Bridge(tmp_path, settings) as bridge:
            bridge.start("serve")
            batch = [{"type": "track", "userId": f"u{n}", "event": "Seen"} for n in range(COUNT)]
            assert bridge.post("/v1/batch", {"batch": batch}).json()["accepted"] == COUNT
            for name in ("first", "second", "third"):
                bridge.start("deliver", name)
            wait_for(bridge.drained, "everything is delivered")
        shown = sandbox.shown(limit=1)
        entries = sandbox.received()
    assert [entry["status"] for entry in entries] == [200] * COUNT
    assert shown["busiest"][TRACK]["sliding_second"] <= LIMIT
    took = entries[-1]["at"] - entries[0]["at"]
    # Slower than this would be a limit kept by standing still.
    assert COUNT / took > LIMIT / 2
