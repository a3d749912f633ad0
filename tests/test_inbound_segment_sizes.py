"""Segment's limits: 32 KB a message, 500 KB a request."""

import json
from typing import Any

import pytest
from segment.analytics.consumer import MAX_MSG_SIZE

from app.inbound.message import SegmentMessage
from app.inbound.relief import relieved
from app.outcomes import Dead, Delivered, Retry
from tests.segment_server import (
    OK,
    deliver,
    steps,
)


def test_relieves_a_message_over_32_kb_of_its_largest_custom_fields(segment, destination):
    custom: dict[str, Any] = {
        "transactionalData": {"big": "x" * 30_000, "small": 1},
        "payload": {"a": "y" * 9_000},
    }
    (message,) = steps(destination, 1, campaignId=7, **custom)
    assert deliver(destination, [message]) == [Delivered(notice="large_fields_removed")]
    assert segment.accepted[0]["properties"] == {
        "campaignId": 7,
        "transactionalData": {"small": 1},
        "payload": custom["payload"],
        "bridge_removed": ["transactionalData.big"],
    }


def test_relieves_a_message_of_a_text_and_of_the_html_document_last(segment, destination):
    (message,) = steps(
        destination, 1, transactionalData="t" * 20_000, payload=None, inAppBody="<p>" * 20_000
    )
    assert deliver(destination, [message]) == [Delivered(notice="large_fields_removed")]
    assert segment.accepted[0]["properties"] == {
        "payload": None,
        "bridge_removed": ["transactionalData", "inAppBody"],
    }


@pytest.mark.parametrize("excess", [1, 20, 100, 3_000])
@pytest.mark.parametrize("fields", [2, 50, 3_000])
def test_a_relieved_message_fits_and_keeps_what_it_can(destination, fields, excess):
    spare = MAX_MSG_SIZE - len(relief_json(steps(destination, 1, payload={})[0]))
    width = (spare + excess) // fields - 9
    payload = {f"k{number:04}": "v" * max(width, 0) for number in range(fields)}
    payload["last"] = "w" * (spare + excess)
    (message,) = steps(destination, 1, payload=payload)
    smaller = relieved(message)
    assert smaller is not None
    assert len(relief_json(smaller)) <= MAX_MSG_SIZE
    assert smaller.body["bridge_removed"][0] == ("payload" if fields == 3_000 else "payload.last")
    assert smaller.message_id == message.message_id


def relief_json(message: SegmentMessage) -> str:
    return json.dumps(message.describe())


def test_a_message_that_stays_too_large_is_dead_and_the_others_go(segment, destination):
    large = steps(destination, 1, smsMessage="x" * 40_000, payload={"a": 1})
    others = steps(destination, 2, start=1)
    assert deliver(destination, large + others) == [Dead("too_large"), Delivered(), Delivered()]
    assert [message["userId"] for message in segment.accepted] == ["u1", "u2"]
    assert deliver(destination, large) == [Dead("too_large")]


def test_a_batch_over_500_kb_is_sent_in_parts(segment, destination):
    messages = steps(destination, 40, text="x" * 20_000)
    assert deliver(destination, messages) == [Delivered()] * 40
    assert len(segment.requests) == 2
    assert destination.endpoints["batch"].batch_bytes < sum(message.size for message in messages)


def test_a_part_of_a_batch_that_is_refused_does_not_take_the_other_with_it(segment, destination):
    segment.reply = lambda batch: (
        (400, {}, b"no") if any(message["userId"] == "u0" for message in batch) else OK
    )
    outcomes = deliver(destination, steps(destination, 40, text="x" * 20_000))
    refused = len(segment.requests[0])
    assert [type(outcome) for outcome in outcomes] == [Retry] * refused + [Delivered] * (
        40 - refused
    )
