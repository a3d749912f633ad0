"""The probes."""

import pytest

from tests.builders import Door, broken, door, locked, log

__all__ = ["broken", "door", "locked", "log"]


def test_is_live_and_ready(locked: Door) -> None:
    for path in ("/health/live", "/health/ready"):
        answer = locked.client.get(path)
        assert (answer.status_code, answer.json) == (200, {"success": True})
    assert locked.is_empty()


def test_is_live_and_not_ready_when_the_log_cannot_be_written(broken: Door) -> None:
    assert broken.client.get("/health/live").status_code == 200
    answer = broken.client.get("/health/ready")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json is not None
    assert answer.json["code"] == "log_unavailable"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_probes_are_for_reading(door: Door, path: str) -> None:
    assert door.client.head(path).status_code == 200
    assert door.post(path, {}).status_code == 405
