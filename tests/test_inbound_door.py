"""The inbound door: what is taken from Iterable, what is refused, and what is kept of it."""

import time
from typing import Any

import orjson
import pytest

from app.log.base import ITERABLE_WEBHOOKS, Log
from tests.builders import (
    OPEN,
    Door,
    broken,
    door,
    failing_once,
    log,
    nested_json,
    opened,
    stored,
    webhook,
)

__all__ = ["broken", "door", "log"]


def without_identity(**fields: Any) -> dict[str, Any]:
    return {"eventName": "emailOpen", "dataFields": {"campaignId": 7}, **fields}


def test_a_webhook_is_stored_as_it_came(door: Door) -> None:
    before = time.time()
    sent = webhook("pushOpen", userId="u1", extra={"a": [None, 1.5]})
    answer = door.post("/iterable", sent)
    assert (answer.status_code, answer.json) == (200, {"success": True})
    record = door.webhooks()[0]
    assert stored(record) == sent
    assert record.key == "u1"
    assert before <= float(record.headers["received-at"]) <= time.time()
    assert door.calls() == []


def test_the_same_webhook_has_the_same_message_id_at_every_sending(door: Door) -> None:
    sent = webhook()
    reordered = dict(reversed(sent.items()))
    for body in (sent, sent, reordered, [sent]):
        assert door.post("/iterable", body).status_code == 200
    door.post("/iterable", webhook("emailClick"))
    ids = [record.headers["message-id"] for record in door.webhooks()]
    assert len(ids) == 5
    assert len(set(ids)) == 2


def test_a_webhook_without_a_user_id_is_kept_in_order_by_its_address(door: Door) -> None:
    door.post("/iterable", webhook(email="Ann@Example.com"))
    door.post("/iterable", webhook(email="ann@example.com"))
    assert {record.key for record in door.webhooks()} == {"ann@example.com"}


@pytest.mark.parametrize(
    "fields",
    [
        {"dataFields": {"email": "ann@example.com"}},
        {"dataFields": {"userId": "u1"}},
        {"userId": 12345},
        {"email": "x@placeholder.email", "userId": "u1"},
    ],
)
def test_a_person_may_be_named_in_any_place(door: Door, fields: dict[str, Any]) -> None:
    assert door.post("/iterable", without_identity(**fields)).status_code == 200
    assert len(door.webhooks()) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"email": ""},
        {"email": None, "userId": None},
        {"email": "123@placeholder.email"},
        {"email": "123@Placeholder.Email", "dataFields": {"email": "123@placeholder.email"}},
        {"dataFields": None},
    ],
)
def test_a_webhook_about_nobody_is_refused(door: Door, fields: dict[str, Any]) -> None:
    answer = door.post("/iterable", without_identity(**fields))
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["code"] == "no_identity"
    assert "email" in answer.json["errors"]
    assert door.is_empty()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"eventName": None}, "eventName"),
        ({"eventName": " "}, "eventName"),
        ({"eventName": 5}, "eventName"),
        ({"email": []}, "email"),
        ({"userId": {}}, "userId"),
        ({"dataFields": "text"}, "dataFields"),
    ],
)
def test_400_names_the_field_and_stores_nothing(
    door: Door, change: dict[str, Any], field: str
) -> None:
    answer = door.post("/iterable", webhook() | change)
    assert answer.status_code == 400
    assert answer.json is not None
    assert (answer.json["code"], set(answer.json["errors"])) == ("invalid_webhook", {field})
    assert door.is_empty()


@pytest.mark.parametrize("body", [b"", b"{", b"NaN", b'{"eventName":"\xff"}', b"[" * 100_000])
def test_what_is_no_json_is_refused(door: Door, body: bytes) -> None:
    answer = door.post("/iterable", body)
    assert answer.status_code == (413 if len(body) > 20_000 else 400)
    assert door.is_empty()


@pytest.mark.parametrize("body", [b"null", b'"emailOpen"', b"5"])
def test_what_is_no_object_is_refused(door: Door, body: bytes) -> None:
    answer = door.post("/iterable", body)
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["code"] == "not_an_object"


def test_the_good_ones_of_an_array_are_stored_and_the_bad_ones_are_kept(door: Door) -> None:
    deep = b'{"eventName":"pushOpen","userId":"u9","dataFields":' + nested_json(900) + b"}"
    parts = [webhook(), without_identity(), 5, webhook("smsSend")]
    body = b"[" + b",".join([*map(orjson.dumps, parts), deep]) + b"]"
    answer = door.post("/iterable", body)
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["accepted"] == 2
    assert [(r["index"], r["code"]) for r in answer.json["rejected"]] == [
        (1, "no_identity"),
        (2, "not_an_object"),
        (4, "invalid_webhook"),
    ]
    assert [stored(record)["eventName"] for record in door.webhooks()] == ["emailOpen", "smsSend"]
    letters = {letter["reason"]: letter for letter in door.dead()}
    assert set(letters) == {"no_identity", "not_an_object", "invalid_webhook"}
    assert letters["no_identity"]["topic"] == ITERABLE_WEBHOOKS
    assert orjson.loads(letters["no_identity"]["body"]) == without_identity()
    assert orjson.loads(letters["invalid_webhook"]["body"])["userId"] == "u9"


def test_an_array_may_be_empty_and_may_not_be_all_bad(door: Door) -> None:
    assert door.post("/iterable", []).json == {"success": True, "accepted": 0, "rejected": []}
    answer = door.post("/iterable", [without_identity(), {}])
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["code"] == "all_rejected"
    assert door.is_empty()


def test_an_event_that_is_denied_is_discarded(log: Log) -> None:
    mapping = type(OPEN.inbound)(deny_events=("emailOpen",))
    door = opened(type(OPEN)(inbound=mapping), log)
    assert door.post("/iterable", webhook()).json == {"success": True, "discarded": "event_denied"}
    answer = door.post("/iterable", [webhook(), webhook("smsSend")])
    assert answer.json is not None
    assert answer.json["accepted"] == 2
    assert [entry["index"] for entry in answer.json["discarded"]] == [0]
    assert [stored(record)["eventName"] for record in door.webhooks()] == ["smsSend"]


def test_answers_503_when_the_log_cannot_append(broken: Door) -> None:
    for body in (webhook(), [webhook()]):
        answer = broken.post("/iterable", body)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0


def test_answers_503_to_an_unexpected_error(log: Log) -> None:
    door = failing_once(log, ITERABLE_WEBHOOKS, RuntimeError("a secret detail"))
    answer = door.post("/iterable", webhook())
    assert answer.status_code == 503
    assert "secret" not in answer.text
    assert door.is_empty()


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_another_method_answers_405(door: Door, method: str) -> None:
    assert door.post("/iterable", webhook(), method=method).status_code == 405
    assert door.is_empty()


def test_another_content_type_answers_415(door: Door) -> None:
    assert door.post("/iterable", webhook(), {"Content-Type": "text/plain"}).status_code == 415
    assert door.post("/iterable", webhook(), {"Content-Type": "text/xml"}).status_code == 415
    assert door.is_empty()


def test_a_compressed_body_is_inflated_and_a_large_one_refused(door: Door) -> None:
    assert door.post("/iterable", webhook(), zipped=True).status_code == 200
    large = webhook(text="x" * 20_000)
    assert door.post("/iterable", large).status_code == 413
    assert door.post("/iterable", large, zipped=True).status_code == 413
    assert len(door.webhooks()) == 1
