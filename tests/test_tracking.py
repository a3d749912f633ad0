"""What Segment's Tracking API does for its callers: times, shared fields, browsers."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.log.base import Log
from app.outbound.tracking import complete, correct_clock
from app.settings import Settings
from tests.builders import WRITE_KEY, Door, broken, door, locked, log, nobody, opened, stored, track

__all__ = ["broken", "door", "locked", "log"]

RECEIVED = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
RECEIVED_TEXT = "2026-03-01T12:00:00.000+00:00"
ORIGIN = {"Origin": "https://shop.example"}


def corrected(**call: Any) -> dict[str, Any]:
    correct_clock(call, RECEIVED.timestamp())
    return call


# --- the sender's clock


@pytest.mark.parametrize(
    ("sent_at", "timestamp", "expected"),
    [
        # The clock is right; the call waited for a minute.
        ("2026-03-01T12:00:00Z", "2026-03-01T11:59:00Z", "2026-03-01T11:59:00.000+00:00"),
        # An hour fast, an hour slow, and another time zone.
        ("2026-03-01T13:00:00Z", "2026-03-01T12:59:00Z", "2026-03-01T11:59:00.000+00:00"),
        ("2026-03-01T11:00:00.500Z", "2026-03-01T11:00:00.250Z", "2026-03-01T11:59:59.750+00:00"),
        (
            "2026-03-01T14:00:00.0000000+02:00",
            "2026-03-01T13:00:00.1234567+02:00",
            "2026-03-01T11:00:00.123+00:00",
        ),
        # Made offline, days ago.
        ("2026-03-01T12:00:00Z", "2026-02-20T12:00:00Z", "2026-02-20T12:00:00.000+00:00"),
    ],
)
def test_the_timestamp_is_corrected_for_the_senders_clock(
    sent_at: str, timestamp: str, expected: str
) -> None:
    call = corrected(sentAt=sent_at, timestamp=timestamp)
    assert call["timestamp"] == expected
    assert call["originalTimestamp"] == timestamp
    assert call["receivedAt"] == RECEIVED_TEXT
    assert call["sentAt"] == sent_at


@pytest.mark.parametrize(
    "call",
    [
        {"timestamp": "2026-03-01T11:00:00Z"},
        {"timestamp": "2026-03-01T11:00:00Z", "sentAt": None},
        {"timestamp": "2026-03-01T11:00:00Z", "sentAt": "garbage"},
        {"timestamp": "garbage", "sentAt": "2026-03-01T11:00:00Z"},
        {"timestamp": None, "sentAt": "2026-03-01T11:00:00Z"},
        {"sentAt": "2026-03-01T11:00:00Z"},
        # Clocks so wrong that the calendar would end.
        {"timestamp": "9999-12-31T23:59:59Z", "sentAt": "1970-01-02T00:00:00Z"},
        {"timestamp": "1970-01-02T00:00:00Z", "sentAt": "9999-12-31T23:59:59Z"},
    ],
)
def test_without_two_usable_times_there_is_nothing_to_correct_by(call: dict[str, Any]) -> None:
    assert corrected(**call) == {**call, "receivedAt": RECEIVED_TEXT}


def test_an_original_timestamp_comes_first() -> None:
    call = corrected(
        sentAt="2026-03-01T13:00:00Z", originalTimestamp="2026-03-01T12:59:00Z", timestamp="x"
    )
    assert call["timestamp"] == "2026-03-01T11:59:00.000+00:00"
    assert call["originalTimestamp"] == "2026-03-01T12:59:00Z"


def test_a_call_that_has_been_through_segment_keeps_its_time() -> None:
    archived = {
        "originalTimestamp": "2025-01-01T10:00:00.000Z",
        "sentAt": "2025-01-01T10:00:05.000Z",
        "receivedAt": "2025-01-01T09:00:05.000Z",
        "timestamp": "2025-01-01T09:00:00.000Z",
    }
    assert corrected(**archived) == {**archived, "timestamp": "2025-01-01T09:00:00.000+00:00"}


def test_wild_clocks_cost_no_call(door: Door) -> None:
    wild = track(timestamp="9999-12-31T23:59:59Z", sentAt="1970-01-02T00:00:00Z")
    assert door.post("/v1/track", wild).status_code == 200


def test_the_clock_is_corrected_on_the_tracking_api_and_not_at_the_webhook(door: Door) -> None:
    call = track(timestamp="2020-01-01T10:00:00Z", sentAt="2020-01-01T11:00:00Z", messageId="m")
    door.post("/segment", call)
    assert stored(door.calls()[0]) == call
    door.post("/v1/track", call)
    own = stored(door.calls()[1])
    assert own["originalTimestamp"] == "2020-01-01T10:00:00Z"
    delay = datetime.fromisoformat(own["receivedAt"]) - datetime.fromisoformat(own["timestamp"])
    assert delay.total_seconds() == 3600


def test_the_time_at_which_a_batch_was_sent_is_that_of_its_calls(door: Door) -> None:
    batch = [
        track(timestamp="2020-01-01T10:00:00Z"),
        track(timestamp="2020-01-01T10:00:00Z", sentAt="2020-01-01T10:30:00Z"),
    ]
    door.post("/v1/batch", {"batch": batch, "sentAt": "2020-01-01T11:00:00Z"})
    delays = [
        datetime.fromisoformat(call["receivedAt"]) - datetime.fromisoformat(call["timestamp"])
        for call in map(stored, door.calls())
    ]
    assert [delay.total_seconds() for delay in delays] == [3600, 1800]


# --- what is shared


def test_a_calls_own_fields_come_before_those_of_the_root() -> None:
    item = {"context": {"a": 1, "b": None}, "integrations": None, "writeKey": "secret"}
    root = {"context": {"a": 2, "b": 2, "c": 2}, "integrations": {"All": True}}
    assert complete(item, root) == {
        "context": {"a": 1, "b": None, "c": 2},
        "integrations": {"All": True},
    }
    assert "writeKey" in item, "the input is left as it is"


@pytest.mark.parametrize("item", [None, 5, "text", []])
def test_what_is_no_call_is_left_to_the_schema(item: object) -> None:
    assert complete(item, {"context": {}}) is item


# --- browsers


@pytest.mark.parametrize("path", ["/v1/t", "/v1/track/", "/v1/batch", "/v1/b", "/v1/m"])
def test_a_pre_flight_allows_what_the_sdk_wants_to_send(locked: Door, path: str) -> None:
    wanted = "authorization,content-type,x-retry-count"
    answer = locked.client.options(
        path,
        headers={
            **ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": wanted,
        },
    )
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
    assert answer.headers["Access-Control-Allow-Headers"] == wanted
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Vary"] == "Origin"
    assert locked.is_empty()


def test_a_page_of_any_site_can_read_every_answer(locked: Door, door: Door, broken: Door) -> None:
    call = track(writeKey=WRITE_KEY)
    for answer, status in (
        (locked.post("/v1/t", call, ORIGIN), 200),
        (locked.post("/v1/t", track(), ORIGIN), 401),
        (door.post("/v1/t", nobody(), ORIGIN), 400),
        (door.post("/v1/t", b"{", ORIGIN), 400),
        (door.post("/v1/t", b" " * 20_001, ORIGIN), 413),
        (door.post("/v1/t", call, {**ORIGIN, "Content-Type": "a/b"}), 415),
        (broken.post("/v1/t", call, ORIGIN), 503),
    ):
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
        assert answer.headers["Access-Control-Expose-Headers"] == "Retry-After"


def test_only_the_tracking_api_is_for_browsers(door: Door) -> None:
    assert "Access-Control-Allow-Origin" not in door.post("/segment", track(), ORIGIN).headers
    assert "Access-Control-Allow-Origin" not in door.post("/v1/track", track()).headers


def test_a_call_of_a_browser_needs_no_pre_flight_when_it_is_text(log: Log) -> None:
    door = opened(Settings(bridge_write_key=(WRITE_KEY,)), log)
    text = {"Content-Type": "text/plain", **ORIGIN}
    assert door.post("/v1/t", track(writeKey=WRITE_KEY), text).json == {"success": True}
