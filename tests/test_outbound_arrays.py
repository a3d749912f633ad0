"""Many calls at once, and what 200 promises: arrays, batches, and the log that fails."""

from typing import Any

import orjson
import pytest

from app.log.base import DEAD_LETTERS, SEGMENT_CALLS, Log, LogUnavailable
from tests.builders import (
    Door,
    broken,
    door,
    failing_once,
    log,
    nested_json,
    nobody,
    stored,
    track,
)

__all__ = ["broken", "door", "log"]


# --- arrays


def test_the_good_ones_of_an_array_are_stored_and_the_bad_ones_are_kept(door: Door) -> None:
    sent = [
        track("u1", messageId="m0"),
        nobody(messageId="m1"),
        {"type": "group", "userId": "u1", "messageId": "m2"},
        {"type": "track", "userId": "u1", "messageId": "m3"},
        "no call",
    ]
    answer = door.post("/segment", sent)
    assert answer.status_code == 200
    assert answer.json is not None
    rejected = answer.json["rejected"]
    assert answer.json["accepted"] == 2
    assert answer.json["discarded"] == [
        {"index": 2, "messageId": "m2", "discarded": "unsupported_type"}
    ]
    assert [(r["index"], r["messageId"], r["code"]) for r in rejected] == [
        (1, "m1", "no_identity"),
        (3, "m3", "invalid_call"),
        (4, None, "not_an_object"),
    ]
    assert rejected[1]["errors"] == {"event": ["is missing"]}
    assert [record.headers["message-id"] for record in door.calls()] == ["m0"]
    kept = {letter["headers"]["message-id"]: letter for letter in door.dead()}
    assert {name: letter["reason"] for name, letter in kept.items()} == {
        "m1": "no_identity",
        "m3": "invalid_call",
        "": "not_an_object",
    }
    assert orjson.loads(kept["m1"]["body"]) == sent[1]
    assert kept["m3"]["errors"] == {"event": ["is missing"]}


def test_every_bad_call_has_a_letter_of_its_own(door: Door) -> None:
    bad: list[Any] = [{"type": "track", "userId": f"u{n}"} for n in range(5)]
    door.post("/segment", [track(), *bad])
    assert sorted(orjson.loads(letter["body"])["userId"] for letter in door.dead()) == [
        "u0",
        "u1",
        "u2",
        "u3",
        "u4",
    ]


def test_a_letter_can_be_replayed_as_the_call_would_have_been_delivered(door: Door) -> None:
    batch = {
        "batch": [track(), nobody(messageId="m1") | {"writeKey": "k"}],
        "context": {"traits": {"plan": "pro"}},
        "integrations": {"Other": True},
    }
    door.post("/v1/batch", batch)
    letter = door.dead()[0]
    body = orjson.loads(letter["body"])
    assert body["context"] == {"traits": {"plan": "pro"}}
    assert body["integrations"] == {"Other": True}
    assert "writeKey" not in body
    assert letter["headers"]["door"] == "tracking"
    assert float(letter["headers"]["received-at"]) == letter["died_at"]


def test_a_call_nested_too_deeply_costs_no_other_one(door: Door) -> None:
    body = b"[" + orjson.dumps(track(messageId="m0")) + b',{"type":"track","userId":"u1",'
    body += b'"event":"E","messageId":"m1","properties":' + nested_json(900) + b"},"
    body += b"[" * 900 + b"]" * 900 + b"]"
    answer = door.post("/segment", body)
    assert answer.json is not None
    assert [(r["index"], r["code"]) for r in answer.json["rejected"]] == [
        (1, "nested_too_deep"),
        (2, "not_an_object"),
    ]
    assert [record.headers["message-id"] for record in door.calls()] == ["m0"]
    letters = {letter["reason"]: orjson.loads(letter["body"]) for letter in door.dead()}
    assert letters["nested_too_deep"]["event"] == "E"
    assert letters["nested_too_deep"]["properties"]["in"]["in"]
    assert letters["not_an_object"][0][0][0]


def test_an_array_in_which_every_call_is_bad_is_refused(door: Door) -> None:
    for answer in (
        door.post("/segment", [nobody(), "no call"]),
        door.post("/v1/batch", {"batch": [nobody(), "no call"]}),
    ):
        assert answer.status_code == 400
        assert answer.json is not None
        assert answer.json["code"] == "all_rejected"
        assert set(answer.json["errors"]) == {"[0].userId", "[0].email", "[1]"}
    assert door.is_empty()


def test_what_a_batch_says_once_holds_for_every_call_in_it(door: Door) -> None:
    door.post(
        "/v1/batch",
        {
            "batch": [
                track(messageId="m1", context={"app": {"name": "own"}}),
                track(messageId="m2", integrations={"All": True}, context=None),
            ],
            "context": {"app": {"name": "root"}, "ip": "1.2.3.4"},
            "integrations": {"All": True, "Other": False},
            "sequence": 5,
        },
    )
    one, two = (stored(record) for record in door.calls())
    assert one["context"] == {"app": {"name": "own"}, "ip": "1.2.3.4"}
    assert one["integrations"] == {"All": True, "Other": False}
    assert two["context"] == {"app": {"name": "root"}, "ip": "1.2.3.4"}
    assert two["integrations"] == {"All": True, "Other": False}
    assert "sequence" not in one


# --- 200 only after durable storage


@pytest.mark.parametrize(("path", "body"), [("/segment", [track()]), ("/v1/track", track())])
def test_answers_503_when_the_log_cannot_append(broken: Door, path: str, body: Any) -> None:
    answer = broken.post(path, body)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json is not None
    assert (answer.json["success"], answer.json["code"]) == (False, "log_unavailable")


def test_answers_200_to_what_needs_no_storage_even_without_a_log(broken: Door) -> None:
    assert broken.post("/segment", {"type": "group", "userId": "u"}).status_code == 200
    assert broken.post("/segment", nobody()).status_code == 400


def test_answers_503_to_an_unexpected_error_and_tells_nothing_of_it(log: Log) -> None:
    door = failing_once(log, SEGMENT_CALLS, RuntimeError("a secret detail"))
    answer = door.post("/segment", track())
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json is not None
    assert answer.json["code"] == "internal_error"
    assert "secret" not in answer.text
    assert door.is_empty()


def test_a_repeat_after_half_of_an_array_was_stored_makes_no_second_letter(log: Log) -> None:
    door = failing_once(log, SEGMENT_CALLS, LogUnavailable("the disk is full"))
    batch = {"batch": [track(messageId="m0"), nobody(), {"type": "track", "userId": "u"}]}
    assert door.post("/v1/batch", batch).status_code == 503
    assert door.calls() == []
    assert door.post("/v1/batch", batch).status_code == 200
    assert len(door.calls()) == 1
    assert len(door.dead()) == 2


def test_no_call_is_stored_when_the_letters_of_its_array_cannot_be(log: Log) -> None:
    door = failing_once(log, DEAD_LETTERS, LogUnavailable("the disk is full"))
    assert door.post("/segment", [track(), nobody()]).status_code == 503
    assert door.is_empty()
