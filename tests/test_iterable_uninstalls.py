"""Uninstalled apps: their device tokens are disabled at Iterable."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.log.base import ITERABLE_WEBHOOKS
from app.outbound.request import MOBILE, IterableRequest
from app.outbound.uninstalls import UninstallDestination
from app.outcomes import Dead, Delivered, Discarded, Retry
from tests.fake_iterable import FakeIterable, record, running_iterable, settings


@pytest.fixture
def iterable() -> Iterator[FakeIterable]:
    with running_iterable() as fake:
        yield fake


@pytest.fixture
def uninstalls(iterable: FakeIterable) -> Iterator[UninstallDestination]:
    made = UninstallDestination(settings(iterable.url))
    yield made
    made.close()


@pytest.mark.parametrize("name", ["token", "deviceToken", "platformEndpoint"])
def test_an_uninstalled_apps_token_is_disabled(
    iterable: FakeIterable, uninstalls: UninstallDestination, name: str
) -> None:
    webhook = {"eventName": "pushUninstall", "email": "a@b.c", "dataFields": {name: " t1 "}}
    prepared = uninstalls.prepare(record(webhook, ITERABLE_WEBHOOKS))
    assert isinstance(prepared, tuple)
    (outcome,) = uninstalls.deliver(prepared[0].endpoint, prepared)
    assert isinstance(outcome, Delivered)
    (received,) = iterable.received
    assert (received.path, received.body) == ("/api/users/disableDevice", {"token": "t1"})
    assert received.headers["Api-Key"] == "secret-mobile-key"


@pytest.mark.parametrize(
    "fields", [None, {}, {"token": ""}, {"platformEndpoint": "arn:aws:sns:us-east-1:1:endpoint/x"}]
)
def test_an_uninstall_without_a_token_is_discarded(
    uninstalls: UninstallDestination, fields: Any
) -> None:
    webhook = {"eventName": "PUSHUNINSTALL", "dataFields": fields}
    assert uninstalls.prepare(record(webhook)) == Discarded("no_device_token")


def test_other_webhooks_are_none_of_its_business(uninstalls: UninstallDestination) -> None:
    assert uninstalls.prepare(record({"eventName": "pushOpen"})) == ()
    assert uninstalls.prepare(record([])) == ()
    assert uninstalls.prepare(record(b"{")) == Dead("invalid_json")
    assert list(uninstalls.endpoints) == ["users/disableDevice"]


def test_an_unreachable_partner_is_retried_for_uninstalls_too() -> None:
    destination = UninstallDestination(settings("http://127.0.0.1:1"))
    request = IterableRequest("users/disableDevice", "POST", "/api/x", {"token": "t"}, MOBILE)
    (outcome,) = destination.deliver("users/disableDevice", [request])
    destination.close()
    assert isinstance(outcome, Retry)
    assert outcome.failing
