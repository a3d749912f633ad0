"""What stored webhooks and Segment's answers become: real analytics-python, a real server."""

import time
from datetime import datetime
from typing import Any

import pytest
from segment.analytics import Client

from app.inbound.segment import SegmentDestination
from app.log.base import ITERABLE_WEBHOOKS
from app.mapping_settings import InboundMapping
from app.outcomes import Dead, Delivered, Discarded, Hold, Retry
from app.settings import Settings
from tests.segment_server import OK, deliver, record, steps


def test_is_the_inbound_way_out(destination):
    assert (destination.direction, destination.topic) == ("inbound", ITERABLE_WEBHOOKS)
    assert destination.group == "segment"
    assert set(destination.endpoints) == {"batch"}


def test_prepares_the_message_with_the_time_in_the_doors_header(destination):
    webhook = {"eventName": "pushOpen", "userId": "u"}
    (step,) = destination.prepare(record(webhook, {"received-at": "1600000000.5"}))
    assert step.describe()["timestamp"] == "2020-09-13T12:26:40.500+00:00"


@pytest.mark.parametrize(
    "headers", [{}, *({"received-at": text} for text in ("soon", "nan", "inf", "-1"))]
)
def test_falls_back_to_the_time_of_storage(destination, headers):
    (step,) = destination.prepare(record({"eventName": "pushOpen", "userId": "u"}, headers))
    assert step.describe()["timestamp"] == "2023-11-14T22:13:20.000+00:00"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"{", Dead("not_json")),
        (b"\xff", Dead("not_json")),
        ([], Dead("not_an_object")),
        ({"eventName": "pushOpen"}, Dead("no_identity")),
        ({"userId": "u"}, Dead("invalid_webhook")),
        (None, ()),
    ],
)
def test_prepares_nothing_from_what_is_no_webhook(destination, value, wanted):
    assert destination.prepare(record(value)) == wanted


def test_prepares_nothing_from_a_denied_event():
    settings = Settings(inbound=InboundMapping(deny_events=("pushOpen",)))
    prepared = SegmentDestination(settings).prepare(
        record({"eventName": "pushOpen", "userId": "u"})
    )
    assert prepared == Discarded("event_denied")


def test_delivers_a_batch_in_one_request_exactly_as_described(segment, destination):
    messages = steps(destination, 40, campaignName="Frühling 🌱")
    assert deliver(destination, messages) == [Delivered()] * 40
    assert segment.requests == [[message.describe() for message in messages]]


def test_delivers_a_track_and_an_identify(segment):
    settings = Settings(
        segment_write_key="made-up-key", segment_host=segment.url, inbound_identify=True
    )
    destination = SegmentDestination(settings)
    messages = destination.prepare(record({"eventName": "emailSubscribe", "userId": "u"}))
    assert isinstance(messages, tuple)
    assert destination.deliver("batch", messages) == [Delivered()] * 2
    destination.close()
    assert [message["type"] for message in segment.accepted] == ["track", "identify"]


def test_a_flush_of_few_messages_is_prompt(destination):
    deliver(destination, steps(destination, 1))
    started = time.perf_counter()
    for number in range(10):
        deliver(destination, steps(destination, 1, start=number))
    assert time.perf_counter() - started < 2.5  # the library's own interval would make it 5


def test_leaves_the_message_untouched(destination):
    (message,) = steps(destination, 1)
    deliver(destination, [message])
    assert set(message.context) == {"integration"}


def test_narrows_a_refusal_down_to_the_guilty_message(segment, destination):
    segment.reply = lambda batch: (
        (400, {}, b'{"code":"invalid","message":"bad"}')
        if any(message["userId"] == "u3" for message in batch)
        else OK
    )
    messages = steps(destination, 4)
    assert {outcome.split for outcome in deliver(destination, messages)} == {True}  # type: ignore[union-attr]
    assert deliver(destination, messages[:2]) == [Delivered()] * 2
    (alone,) = deliver(destination, messages[3:])
    assert isinstance(alone, Dead)
    assert alone.reason == "refused"
    assert alone.answer is not None
    assert alone.answer.status == 400
    assert "bad" in alone.answer.body
    assert len(segment.requests) == 3


@pytest.mark.parametrize("status", [401, 403, 404])
def test_holds_where_the_key_or_the_host_is_at_fault(segment, destination, status):
    segment.reply = lambda _: (status, {}, b"no")
    outcomes = deliver(destination, steps(destination, 2))
    assert [type(outcome) for outcome in outcomes] == [Hold, Hold]
    assert outcomes[0].reason == f"segment_{status}"  # type: ignore[union-attr]
    assert len(segment.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_no_delivery(segment, destination, status):
    segment.reply = lambda _: (status, {"Location": "/elsewhere"}, b"")
    (outcome,) = deliver(destination, steps(destination, 1))
    assert isinstance(outcome, Hold)
    assert outcome.reason == "segment_redirect"
    assert segment.methods == ["POST"]


def test_a_redirect_to_nowhere_is_no_delivery(segment, destination):
    segment.reply = lambda _: (304, {}, b"")
    (outcome,) = deliver(destination, steps(destination, 1))
    assert isinstance(outcome, Hold)


@pytest.mark.parametrize(("headers", "after"), [({"Retry-After": "7"}, 7), ({}, None)])
def test_says_at_once_that_the_rate_limit_was_met(segment, destination, headers, after):
    segment.reply = lambda _: (429, headers, b"slow down")
    started = time.perf_counter()
    outcomes = deliver(destination, steps(destination, 3))
    assert time.perf_counter() - started < 2
    assert {(o.limited, o.failing, o.after) for o in outcomes} == {(True, False, after)}  # type: ignore[union-attr]
    assert outcomes[0].answer.body == "slow down"  # type: ignore[union-attr]
    assert len(segment.requests) == 1


@pytest.mark.parametrize("status", [408, 410, 460, 500, 501, 503, 505, 511])
@pytest.mark.parametrize(("headers", "after"), [({"Retry-After": "7"}, 7), ({}, None)])
def test_says_at_once_that_segment_is_unwell(segment, destination, status, headers, after):
    segment.reply = lambda _: (status, headers, b"oh")
    outcomes = deliver(destination, steps(destination, 2))
    assert {(o.limited, o.failing, o.after) for o in outcomes} == {(False, True, after)}  # type: ignore[union-attr]
    assert len(segment.requests) == 1


def test_a_cut_connection_is_a_retry_and_the_repeat_has_the_same_ids(segment, destination):
    replies = iter([None, OK])
    segment.reply = lambda _: next(replies)
    messages = steps(destination, 2)
    outcomes = deliver(destination, messages)
    assert {(type(o), o.failing) for o in outcomes} == {(Retry, True)}  # type: ignore[union-attr]
    assert deliver(destination, messages) == [Delivered()] * 2
    first, second = ([m["messageId"] for m in batch] for batch in segment.requests)
    assert first == second


ODD: list[Any] = [
    None,
    "",
    " ",
    "a@b.example",
    0,
    -1,
    1e300,
    2**63,
    True,
    [],
    [None],
    {},
    {"a": []},
]
FIELDS = ["email", "userId", "dataFields", "eventName"]
INNER = [
    "email",
    "userId",
    "createdAt",
    "ip",
    "userAgent",
    "campaignName",
    "campaignId",
    "emailId",
    "linkId",
    "url",
    "channelIds",
    "emailListIds",
    "emailListId",
    "pushMessage",
    "actionIdentifier",
    "transactionalData",
    "itblInternal",
]


@pytest.mark.parametrize(
    "event_name", ["emailUnSubscribe", "pushUninstall", "pushOpen", "emailClick"]
)
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_prepare_never_raises_and_what_it_makes_can_be_sent(event_name, odd):
    options: dict[str, Any] = {"inbound_identify": True, "inbound_properties": "spec"}
    destination = SegmentDestination(Settings(**options))
    client = Client("made-up-key", send=False)
    for name in [*FIELDS, *INNER]:
        webhook: dict[str, Any] = {"eventName": event_name, "userId": "u", "dataFields": {}}
        (webhook if name in FIELDS else webhook["dataFields"])[name] = odd
        prepared = destination.prepare(record(webhook))
        assert isinstance(prepared, Dead | tuple)
        for message in prepared if isinstance(prepared, tuple) else ():
            described = message.describe()
            described.pop("type")
            names = {"userId": "user_id", "anonymousId": "anonymous_id", "messageId": "message_id"}
            given = {names.get(key, key): value for key, value in described.items()}
            given["timestamp"] = datetime.fromisoformat(given["timestamp"])
            call = client.identify if "traits" in given else client.track
            assert call(**given)[1] == message.describe()
