"""Refused fields and bulk requests: what is sent again, over real sockets."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from app.outbound.iterable import IterableDestination
from app.outcomes import Dead, Delivered, Retry
from tests.fake_iterable import (
    FakeIterable,
    deliver,
    identify,
    running_iterable,
    settings,
    steps,
)


@pytest.fixture
def iterable() -> Iterator[FakeIterable]:
    with running_iterable() as fake:
        yield fake


@pytest.fixture
def destination(iterable: FakeIterable) -> Iterator[IterableDestination]:
    made = IterableDestination(settings(iterable.url))
    yield made
    made.close()


@pytest.fixture
def batching(iterable: FakeIterable) -> Iterator[IterableDestination]:
    made = IterableDestination(settings(iterable.url, iterable_batching=True))
    yield made
    made.close()


def mismatch(field_name: str, expected: str, value: Any) -> tuple[int, bytes]:
    error = {"incomingTypes": ["string"], "expectedType": expected, "offendingValue": value}
    return 400, orjson.dumps(
        {
            "code": "RequestFieldsTypesMismatched",
            "params": {"validationErrors": {field_name: error}},
        }
    )


def test_a_field_of_the_wrong_type_does_not_take_the_rest_with_it(
    iterable: FakeIterable, destination: IterableDestination
) -> None:
    iterable.answers = [mismatch("age", "long", "old")]
    (outcome,) = deliver(destination, "users/update", identify(1, age="old", vip=True))
    assert isinstance(outcome, Retry)
    assert outcome.after == 0
    assert outcome.instead is not None
    (outcome,) = destination.deliver("users/update", [outcome.instead])
    assert isinstance(outcome, Delivered)
    assert outcome.refused == {"age": "old"}
    sent = iterable.received[-1].body["dataFields"]
    assert sent["vip"] is True
    assert "age" not in sent


def test_a_learned_type_makes_the_next_record_right_the_first_time(
    iterable: FakeIterable, destination: IterableDestination
) -> None:
    iterable.answers = [mismatch("age", "long", "41")]
    deliver(destination, "users/update", identify(1, age="41"))
    (outcome,) = deliver(destination, "users/update", identify(2, age="42"))
    assert isinstance(outcome, Delivered)
    assert outcome.refused == {}
    assert iterable.received[-1].body["dataFields"]["age"] == 42


def test_a_refusal_without_fields_is_dead(
    iterable: FakeIterable, destination: IterableDestination
) -> None:
    iterable.answers = [(400, b'{"code":"RequestFieldsTypesMismatched","params":null}')]
    (outcome,) = deliver(destination, "users/update", identify(1))
    assert isinstance(outcome, Dead)
    assert outcome.reason == "field_types"


def test_refusals_without_end_come_to_an_end(
    iterable: FakeIterable, destination: IterableDestination
) -> None:
    traits = {f"t{i}": i for i in range(30)}
    (step,) = steps(destination, identify(1, **traits))
    for number in range(30):
        iterable.answers = [mismatch(f"t{number}", "boolean", number)]
        (outcome,) = destination.deliver("users/update", [step])
        if isinstance(outcome, Dead):
            break
        assert isinstance(outcome, Retry)
        assert outcome.instead is not None
        step = outcome.instead
    assert isinstance(outcome, Dead)
    assert outcome.reason == "field_types"
    assert len(iterable.received) == 5


# Batching


def test_many_calls_share_one_request(
    iterable: FakeIterable, batching: IterableDestination
) -> None:
    iterable.answers = [
        (
            200,
            orjson.dumps(
                {
                    "successCount": 2,
                    "failCount": 1,
                    "failedUpdates": {"invalidEmails": ["p2@example.com"]},
                }
            ),
        )
    ]
    outcomes = deliver(batching, "users/bulkUpdate", *(identify(n) for n in (1, 2, 3)))
    assert [type(o) for o in outcomes] == [Delivered, Dead, Delivered]
    (received,) = iterable.received
    assert received.path == "/api/users/bulkUpdate"
    assert [u["email"] for u in received.body["users"]] == [f"p{n}@example.com" for n in (1, 2, 3)]


def test_events_share_a_request_and_other_calls_go_alone(
    iterable: FakeIterable, batching: IterableDestination
) -> None:
    seen = {"type": "track", "messageId": "m1", "userId": "u1", "event": "Seen"}
    cart = {**seen, "event": "Cart Updated", "properties": {"products": []}}
    prepared = steps(batching, seen, cart)
    assert [step.endpoint for step in prepared] == ["events/trackBulk", "commerce/updateCart"]
    iterable.answers = [(200, b'{"successCount":1,"failCount":0}')]
    outcomes = batching.deliver("events/trackBulk", prepared[:1])
    assert [type(o) for o in outcomes] == [Delivered]
    assert iterable.received[0].body["events"][0]["eventName"] == "Seen"


def test_those_with_other_options_go_in_a_request_of_their_own(
    iterable: FakeIterable, batching: IterableDestination
) -> None:
    strict = {**identify(2), "integrations": {"Iterable": {"createNewFields": False}}}
    outcomes = deliver(batching, "users/bulkUpdate", identify(1), strict, identify(3))
    assert [type(o) for o in outcomes] == [Delivered, Retry, Delivered]
    assert isinstance(outcomes[1], Retry)
    assert (outcomes[1].split, outcomes[1].after) == (True, 0)
    assert len(iterable.received[0].body["users"]) == 2
    assert "createNewFields" not in iterable.received[0].body


def test_in_a_batch_only_the_culprit_is_repaired(
    iterable: FakeIterable, batching: IterableDestination
) -> None:
    iterable.answers = [mismatch("age", "long", "2")]
    outcomes = deliver(batching, "users/bulkUpdate", identify(1, age=1), identify(2, age="2"))
    good, culprit = outcomes
    assert isinstance(good, Retry)
    assert isinstance(culprit, Retry)
    assert (good.instead, good.after, good.split) == (None, 0, False)
    assert culprit.instead is not None
    assert culprit.instead.describe()["body"]["users"][0]["dataFields"]["age"] == 2
    assert culprit.instead.endpoint == "users/bulkUpdate"


def test_a_mismatch_that_names_nobody_splits_the_batch(
    iterable: FakeIterable, batching: IterableDestination
) -> None:
    iterable.answers = [(400, b'{"code":"RequestFieldsTypesMismatched"}')]
    outcomes = deliver(batching, "users/bulkUpdate", identify(1), identify(2))
    assert all(isinstance(o, Retry) and o.split for o in outcomes)
