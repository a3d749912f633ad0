"""Sending to Iterable: over real sockets, against a server that answers as it is told."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from app.destination import Endpoint, RateLimit
from app.outbound.iterable import IterableDestination
from app.outbound.request import MOBILE, SERVER
from app.outcomes import Dead, Delivered, Discarded, Hold, Retry
from app.settings import Settings, SettingsError
from tests.fake_iterable import (
    KEY,
    FakeIterable,
    Received,
    deliver,
    identify,
    record,
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
    made = IterableDestination(settings(iterable.url), SERVER, clock=lambda: 0.0)
    yield made
    made.close()


def test_a_call_arrives_as_json_with_the_key(
    iterable: FakeIterable, destination: IterableDestination
) -> None:
    (outcome,) = deliver(destination, "users/update", identify(1, vip=True))
    assert isinstance(outcome, Delivered)
    (received,) = iterable.received
    assert (received.method, received.path) == ("POST", "/api/users/update")
    assert received.body["email"] == "p1@example.com"
    assert received.body["dataFields"]["vip"] is True
    assert received.headers["Api-Key"] == KEY
    assert received.headers["Content-Type"] == "application/json"


def test_connections_are_kept_open(
    iterable: FakeIterable, destination: IterableDestination
) -> None:
    for number in range(5):
        deliver(destination, "users/update", identify(number))
    assert len(iterable.received) == 5
    assert iterable.connections == 1


def test_a_request_without_a_body_keeps_its_encoded_path(iterable: FakeIterable) -> None:
    destination = IterableDestination(settings(iterable.url, on_delete="delete"))
    call = {"type": "delete", "messageId": "m1", "userId": "a/b+1"}
    iterable.answers = [(400, b'{"code":"BadParams","msg":"User does not exist"}')]
    (outcome,) = deliver(destination, "users/delete", call)
    destination.close()
    assert isinstance(outcome, Delivered)
    (received,) = iterable.received
    assert (received.method, received.body) == ("DELETE", None)
    assert received.path == "/api/users/byUserId/a%2Fb%2B1"


def test_redirects_are_not_followed(
    iterable: FakeIterable, destination: IterableDestination
) -> None:
    iterable.answers = [(302, b"")]
    iterable.headers = {"Location": "/elsewhere", "Set-Cookie": "a=b"}
    (outcome,) = deliver(destination, "users/update", identify(1))
    assert isinstance(outcome, Hold)
    assert len(iterable.received) == 1


def test_a_refused_key_holds(iterable: FakeIterable, destination: IterableDestination) -> None:
    iterable.answers = [(401, f'{{"code":"BadApiKey","msg":"Invalid API key {KEY}"}}'.encode())]
    (outcome,) = deliver(destination, "users/update", identify(1))
    assert isinstance(outcome, Hold)
    assert KEY not in repr(outcome)


def test_a_limit_says_how_long_to_wait(
    iterable: FakeIterable, destination: IterableDestination
) -> None:
    iterable.answers = [(429, b'{"code":"RateLimitExceeded","params":{}}')]
    iterable.headers = {"retry-after": "3"}
    (outcome,) = deliver(destination, "users/update", identify(1))
    assert isinstance(outcome, Retry)
    assert (outcome.limited, outcome.after) == (True, 3.0)


def test_a_cut_connection_is_retried(
    iterable: FakeIterable, destination: IterableDestination
) -> None:
    iterable.answers = [(0, b"")]
    (outcome,) = deliver(destination, "users/update", identify(1))
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.failing) == ("no_connection", True)
    assert outcome.answer is not None
    assert outcome.answer.status is None


def test_silence_is_a_timeout(iterable: FakeIterable) -> None:
    over = threading.Event()

    def silent(_: Received) -> tuple[int, bytes]:
        over.wait(5)
        return (0, b"")

    iterable.answers = [silent]
    destination = IterableDestination(settings(iterable.url, iterable_timeout=0.05))
    (outcome,) = deliver(destination, "users/update", identify(1))
    over.set()
    destination.close()
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.failing) == ("timeout", True)


def test_nobody_listening_is_retried() -> None:
    destination = IterableDestination(settings("http://127.0.0.1:1", iterable_batching=True))
    outcomes = deliver(destination, "users/bulkUpdate", identify(1), identify(2))
    destination.close()
    assert [isinstance(o, Retry) and o.failing for o in outcomes] == [True, True]


# Preparing


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", "invalid_json"),
        (b"[]", "not_an_object"),
        ({"type": "track", "event": "Seen", "messageId": "m"}, "no_identity"),
        ({}, "invalid_call"),
    ],
)
def test_what_cannot_be_mapped_is_dead(
    destination: IterableDestination, value: Any, reason: str
) -> None:
    assert destination.prepare(record(value)) == Dead(reason)


def test_a_discarded_call_is_told_of_by_one_group_only(
    iterable: FakeIterable, destination: IterableDestination
) -> None:
    group = {"type": "group", "userId": "u1", "groupId": "g1", "messageId": "m1"}
    assert destination.prepare(record(group)) == Discarded("unsupported_type")
    mobile = IterableDestination(settings(iterable.url), MOBILE)
    assert mobile.prepare(record(group)) == ()
    mobile.close()


def test_each_key_takes_its_own_requests(iterable: FakeIterable) -> None:
    call = identify(1)
    call["context"] = {
        "device": {"type": "ios", "token": "t1"},
        "app": {"namespace": "com.example"},
    }
    made = settings(iterable.url)
    prepared = {}
    for key in (SERVER, MOBILE):
        destination = IterableDestination(made, key)
        prepared[destination.group] = [step.endpoint for step in steps(destination, call)]
        destination.close()
    assert prepared == {
        "iterable": ["users/update"],
        "iterable-mobile": ["users/registerDeviceToken"],
    }


def test_the_time_of_receipt_comes_from_the_record(destination: IterableDestination) -> None:
    call = {"type": "track", "event": "Seen", "userId": "u1", "messageId": "m1"}
    for headers, expected in (
        ({"received-at": "1600000000.5"}, 1_600_000_000),
        ({}, 1_700_000_000),
    ):
        prepared = destination.prepare(record(call, **headers))
        assert not isinstance(prepared, Discarded | Dead)
        assert prepared[0].describe()["body"]["createdAt"] == expected


def test_the_door_tells_what_the_integrations_mean(destination: IterableDestination) -> None:
    call = {**identify(1), "integrations": {"All": False}}
    assert destination.prepare(record(call, door="tracking")) == Discarded("integration_off")
    assert destination.prepare(record(call)) == Discarded("integration_off")
    assert not isinstance(destination.prepare(record(call, door="segment")), Discarded)


# Endpoints


def test_published_limits_are_kept(destination: IterableDestination) -> None:
    limits = {name: endpoint.limits for name, endpoint in destination.endpoints.items()}
    assert limits["users/update"] == (RateLimit(500),)
    assert limits["events/track"] == (RateLimit(2_000),)
    assert limits["users/forget"] == (RateLimit(3), RateLimit(1_000, 86_400.0))
    assert destination.endpoints["users/bulkUpdate"] == Endpoint(
        (RateLimit(5),), 1_000, 3_900_000, 1.0
    )


def test_limits_can_be_set() -> None:
    limits = {"users/update": 50.0, "users/forget": 1.0, "users/updateEmail": 5.0}
    destination = IterableDestination(settings("http://127.0.0.1:1", limits=limits))
    destination.close()
    assert destination.endpoints["users/update"].limits == (RateLimit(50),)
    assert destination.endpoints["users/updateEmail"].limits == (RateLimit(5),)
    assert destination.endpoints["users/forget"].limits == (RateLimit(1), RateLimit(1_000, 86_400))


def test_a_missing_or_unusable_key_stops_the_start_without_being_quoted() -> None:
    with pytest.raises(SettingsError, match="ITERABLE_WEB_API_KEY: is missing"):
        IterableDestination(settings("http://127.0.0.1:1"), "web")
    with pytest.raises(SettingsError) as error:
        IterableDestination(Settings(iterable_api_key="se\ncret"))
    assert "cret" not in str(error.value).removeprefix("ITERABLE_API_KEY")
