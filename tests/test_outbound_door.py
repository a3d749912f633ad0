"""The outbound door: what is taken from Segment, what is refused, and what is kept of it."""

import time
import uuid
from typing import Any

import orjson
import pytest

from app.log.base import Log
from tests.builders import (
    OPEN,
    Door,
    door,
    log,
    nested_json,
    nobody,
    opened,
    stored,
    track,
)

__all__ = ["door", "log"]

ROUTES = ("/segment", "/v1/track")


# --- what is taken


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_the_webhook_may_use_any_method_that_segment_offers(door: Door, method: str) -> None:
    answer = door.post("/segment", track(messageId="m1"), method=method)
    assert (answer.status_code, answer.json) == (200, {"success": True})
    assert [stored(record)["messageId"] for record in door.calls()] == ["m1"]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        *((name, name) for name in ("identify", "track", "page", "screen", "alias", "group")),
        *zip("itpsag", ("identify", "track", "page", "screen", "alias", "group"), strict=True),
    ],
)
def test_the_path_names_the_type(log: Log, path: str, kind: str, slash: str) -> None:
    door = opened(OPEN_PAGES, log)
    call = {"userId": "b@example.com", "previousId": "a@example.com", "event": "E", "type": "wrong"}
    answer = door.post(f"/v1/{path}{slash}", call)
    if kind == "group":
        assert answer.json == {"success": True, "discarded": "unsupported_type"}
        assert door.is_empty()
    else:
        assert answer.json == {"success": True}
        assert stored(door.calls()[0])["type"] == kind


OPEN_PAGES = type(OPEN)(track_all_pages=True)


@pytest.mark.parametrize("path", ["batch", "batch/", "import", "import/", "b", "b/"])
def test_a_batch_is_taken_under_each_of_its_names(door: Door, path: str) -> None:
    answer = door.post(f"/v1/{path}", {"batch": [track("u1"), track("u2")]})
    assert answer.json == {"success": True, "accepted": 2, "rejected": []}
    assert {record.key for record in door.calls()} == {"u1", "u2"}


@pytest.mark.parametrize("path", ["m", "m/"])
def test_the_counters_of_analytics_js_are_taken_and_not_kept(door: Door, path: str) -> None:
    answer = door.post(f"/v1/{path}", {"series": []}, {"Content-Type": "text/plain"})
    assert answer.json == {"success": True, "discarded": "sdk_metrics"}
    assert door.is_empty()


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "text/plain;charset=UTF-8", ""],
)
def test_an_sdk_may_call_its_json_text(door: Door, content_type: str) -> None:
    assert door.post("/v1/t", track(), {"Content-Type": content_type}).status_code == 200
    assert len(door.calls()) == 1


@pytest.mark.parametrize("route", ROUTES)
def test_a_gzip_body_is_inflated(door: Door, route: str) -> None:
    assert door.post(route, track(messageId="m1"), zipped=True).status_code == 200
    assert stored(door.calls()[0])["messageId"] == "m1"


def test_an_array_may_be_empty(door: Door) -> None:
    expected = {"success": True, "accepted": 0, "rejected": []}
    assert door.post("/segment", []).json == expected
    assert door.post("/v1/batch", {"batch": []}).json == expected
    assert door.is_empty()


def test_a_record_says_what_delivery_needs_to_know(door: Door) -> None:
    before = time.time()
    door.post("/segment", track("u1", messageId="m1"))
    door.post(
        "/v1/track", track("", context={"traits": {"email": "Ann@Example.com"}}, messageId="m2")
    )
    by_id = {record.headers["message-id"]: record for record in door.calls()}
    assert {name: record.key for name, record in by_id.items()} == {
        "m1": "u1",
        "m2": "ann@example.com",
    }
    assert {name: record.headers["door"] for name, record in by_id.items()} == {
        "m1": "segment",
        "m2": "tracking",
    }
    for record in by_id.values():
        assert before <= float(record.headers["received-at"]) <= time.time()


def test_a_call_is_stored_as_it_came(door: Door) -> None:
    call = track(
        messageId="m1", properties={"deep": [{"ü": None}], "n": 1.5}, unknown=[1], anonymousId=None
    )
    door.post("/segment", call)
    assert stored(door.calls()[0]) == call


def test_numbers_as_ids_become_texts(door: Door) -> None:
    door.post("/segment", track() | {"userId": 12345, "messageId": 7})
    record = door.calls()[0]
    assert (record.key, record.headers["message-id"]) == ("12345", "7")


# --- ids


def test_a_given_message_id_is_kept(door: Door) -> None:
    door.post("/v1/track", track(messageId="ajs-next-1"))
    record = door.calls()[0]
    assert record.headers["message-id"] == stored(record)["messageId"] == "ajs-next-1"


@pytest.mark.parametrize("without", [{}, {"messageId": ""}, {"messageId": None}, {"messageId": {}}])
def test_a_call_without_a_message_id_has_the_same_one_at_every_sending(
    door: Door, without: dict[str, Any]
) -> None:
    call = track(timestamp="2026-03-01T10:00:00Z", **without)
    for sent_at in ("2026-03-01T10:00:01Z", "2026-03-01T10:05:01Z"):
        assert door.post("/v1/track", {**call, "sentAt": sent_at}).status_code == 200
        door.post("/v1/batch", {"batch": [call], "sentAt": sent_at})
    ids = {record.headers["message-id"] for record in door.calls()}
    assert len(door.calls()) == 4
    assert len(ids) == 1
    assert str(uuid.UUID(ids.pop()))


def test_different_calls_without_message_ids_have_different_ones(door: Door) -> None:
    door.post("/segment", [track("u1"), track("u2"), track("u1", "Other")])
    assert len({record.headers["message-id"] for record in door.calls()}) == 3


# --- what is discarded


@pytest.mark.parametrize(
    ("path", "call", "reason"),
    [
        ("/segment", {"type": "group", "userId": "u1", "groupId": "g"}, "unsupported_type"),
        ("/segment", {"type": "made up", "userId": "u1"}, "unsupported_type"),
        ("/segment", {"type": "page", "userId": "u1", "name": "Home"}, "page_tracking_off"),
        ("/segment", {"type": "delete", "userId": "u1"}, "delete_ignored"),
        ("/segment", track(integrations={"Iterable": False}), "integration_off"),
        ("/v1/track", track(integrations={"All": False}), "integration_off"),
        ("/segment", track(context={"integration": {"name": "Iterable"}}), "loop"),
    ],
)
def test_what_is_discarded_answers_200_and_is_not_stored(
    door: Door, path: str, call: dict[str, Any], reason: str
) -> None:
    answer = door.post(path, call)
    assert (answer.status_code, answer.json) == (200, {"success": True, "discarded": reason})
    assert door.is_empty()


def test_segments_own_filter_is_not_repeated_at_the_webhook(door: Door) -> None:
    assert door.post("/segment", track(integrations={"All": False})).json == {"success": True}
    assert len(door.calls()) == 1


# --- what is refused


@pytest.mark.parametrize(
    ("call", "code", "field"),
    [
        (nobody(), "no_identity", "userId"),
        ({"userId": "u1", "event": "E"}, "invalid_call", "type"),
        ({"type": "track", "userId": "u1"}, "invalid_call", "event"),
        (track(event=""), "invalid_call", "event"),
        (track() | {"event": 5}, "invalid_call", "event"),
        (track(properties=[]), "invalid_call", "properties"),
        (track(context="web"), "invalid_call", "context"),
        (track(integrations=[]), "invalid_call", "integrations"),
        (track() | {"userId": {}}, "invalid_call", "userId"),
        (track() | {"userId": True}, "invalid_call", "userId"),
        ({"type": "identify", "userId": "u1", "traits": "x"}, "invalid_call", "traits"),
        (
            track(event="Order Completed", properties={"products": []}),
            "no_total",
            "properties.total",
        ),
        (
            track(event="Product Added", properties={"products": [{"id": 1, "name": "a"}]}),
            "invalid_product",
            "products[0].price",
        ),
    ],
)
def test_400_names_the_field_and_stores_nothing(
    door: Door, call: dict[str, Any], code: str, field: str
) -> None:
    answer = door.post("/segment", call)
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["success"] is False
    assert answer.json["code"] == code
    assert answer.json["message"]
    assert field in answer.json["errors"], answer.json
    assert all(texts and all(texts) for texts in answer.json["errors"].values())
    assert door.is_empty()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("body", [b'"track"', b"null", b"5", b"true"])
def test_what_is_no_object_is_refused(door: Door, route: str, body: bytes) -> None:
    answer = door.post(route, body)
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["code"] == "not_an_object"
    assert door.is_empty()


@pytest.mark.parametrize("route", [*ROUTES, "/v1/batch"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"type":"track","userId":"u1","event":"E","properties":{"n":NaN}}',
        b'{"type":"track","userId":"u1","event":"E","properties":{"n":1e999}}',
        b'{"type":"track","userId":"\xff\xfe","event":"E"}',
        b'{"type":"track","userId":"\\ud800","event":"E"}',
        b'\xef\xbb\xbf{"type":"track","userId":"u1","event":"E"}',
        b"[" * 100_000,
        nested_json(1100),
    ],
)
def test_what_is_no_json_is_refused_with_the_place(log: Log, route: str, body: bytes) -> None:
    door = opened(type(OPEN)(), log)
    answer = door.post(route, body)
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["code"] == "invalid_json"
    assert "line 1 column" in answer.json["message"]
    assert door.is_empty()


@pytest.mark.parametrize("place", ["properties", "context", "unknown"])
@pytest.mark.parametrize("levels", [255, 1000])
def test_what_is_nested_too_deeply_to_be_delivered_is_refused(
    door: Door, place: str, levels: int
) -> None:
    body = orjson.dumps(track())[:-1] + f',"{place}":'.encode() + nested_json(levels) + b"}"
    for call in (body, body[:-1] + b',"messageId":"m1"}'):
        answer = door.post("/segment", call)
        assert answer.status_code == 400
        assert answer.json is not None
        assert answer.json["code"] == "nested_too_deep"
    assert door.is_empty()


def test_of_a_key_that_is_there_twice_the_last_one_counts(door: Door) -> None:
    door.post("/segment", b'{"type":"track","userId":"u1","event":"First","event":"Second"}')
    assert stored(door.calls()[0])["event"] == "Second"


def test_large_numbers_are_taken(door: Door) -> None:
    body = orjson.dumps(track())[:-1] + b',"properties":{"a":18446744073709551615,"b":1e300}}'
    assert door.post("/segment", body).status_code == 200
    assert stored(door.calls()[0])["properties"] == {"a": 18446744073709551615, "b": 1e300}


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "batch"), ({"batch": {}}, "batch"), ({"batch": [], "context": 1}, "context")],
)
def test_a_batch_that_is_none_is_refused(door: Door, body: dict[str, Any], field: str) -> None:
    answer = door.post("/v1/batch", body)
    assert answer.status_code == 400
    assert answer.json is not None
    assert (answer.json["code"], set(answer.json["errors"])) == ("invalid_batch", {field})
