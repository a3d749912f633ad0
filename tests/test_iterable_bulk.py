"""Bulk requests: how they are composed, and what follows when one is refused as a whole."""

from typing import Any

import orjson
import pytest

from app.outbound.bulk import USERS, BulkEntry, company, compose, entry
from app.outbound.request import IterableRequest
from app.outcomes import Hold, Retry
from tests.iterable_entries import ANNA, BEN, CARL, event, reasons, settled, user


def test_entries_are_put_together_byte_by_byte() -> None:
    body = orjson.loads(compose([user(ANNA, n=1), user(None, "u2")]))
    assert body == {
        "users": [{"dataFields": {"n": 1}, "email": ANNA}, {"dataFields": {}, "userId": "u2"}]
    }
    assert list(orjson.loads(compose([event("Seen", ANNA)]))) == ["events"]


@pytest.mark.parametrize("option", [True, False])
def test_create_new_fields_of_a_user_moves_to_the_top(option: bool) -> None:
    request = IterableRequest(
        "users/update",
        "POST",
        "/api/users/update",
        {"email": ANNA, "mergeNestedObjects": True, "createNewFields": option},
    )
    made = entry(request)
    assert isinstance(made, BulkEntry)
    sent = {
        "users": [{"email": ANNA, "mergeNestedObjects": True}],
        "createNewFields": option,
    }
    assert orjson.loads(compose([made])) == sent
    assert made.describe() == {"method": "POST", "path": "/api/users/bulkUpdate", "body": sent}
    assert made.single() == request


def test_create_new_fields_of_an_event_stays_with_it() -> None:
    body = {"email": ANNA, "eventName": "Seen", "createNewFields": False}
    made = entry(IterableRequest("events/track", "POST", "/api/events/track", body))
    assert isinstance(made, BulkEntry)
    assert orjson.loads(compose([made])) == {"events": [body]}
    assert made.single().body == body


def test_only_those_who_agree_in_create_new_fields_share_a_request() -> None:
    plain, strict = user(ANNA), BulkEntry(USERS, "POST", "/", {}, create_new_fields=False)
    assert company([plain, strict, plain]) == [0, 2]
    assert company([plain, strict, strict]) == [1, 2]
    assert company([plain]) == [0]


def test_requests_without_a_bulk_endpoint_stay_what_they_are() -> None:
    request = IterableRequest("commerce/updateCart", "POST", "/api/commerce/updateCart", {})
    assert entry(request) is request


# Refused as a whole


def test_an_entry_named_by_its_place_is_dead_and_the_rest_go_again() -> None:
    answer = {"code": "BadJsonBody", "params": {"obj.users[1].preferUserId": "Boolean expected"}}
    outcomes = settled([user(ANNA), user(BEN), user(CARL)], answer, 400)
    assert reasons(outcomes) == [
        "Retry bad_json_body",
        "Dead bad_json_body",
        "Retry bad_json_body",
    ]
    assert isinstance(outcomes[0], Retry)
    assert outcomes[0].after == 0
    assert not outcomes[0].split


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (400, {"code": "BadJsonBody", "params": {"obj.users[9].email": "text expected"}}),
        (400, {"code": "BadJsonBody"}),
        (400, {"code": "BatchTooLarge"}),
        (400, {"code": "BadParams", "msg": "User does not exist"}),
        (400, {"code": "RequestFieldsTypesMismatched"}),
        (400, "what?"),
        (409, {"code": "Conflict"}),
        (413, ""),
    ],
)
def test_a_refusal_that_names_nobody_halves_the_company(status: int, answer: Any) -> None:
    outcomes = settled([user(ANNA), user(BEN)], answer, status)
    assert all(isinstance(o, Retry) and o.split and o.after == 0 for o in outcomes)


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (400, "BadJsonBody", "Dead bad_json_body"),
        (400, "BatchTooLarge", "Dead too_large"),
        (409, "Conflict", "Dead conflict"),
        (413, "", "Dead too_large"),
        (400, "UnknownEmailError", "Retry unknown_user"),
    ],
)
def test_an_entry_alone_is_judged_as_a_single_request(status: int, code: str, outcome: str) -> None:
    assert reasons(settled([user(ANNA)], {"code": code}, status)) == [outcome]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_partner_in_trouble_is_no_reason_to_split(status: int) -> None:
    outcomes = settled([user(ANNA), user(BEN)], {}, status)
    assert all(isinstance(o, Retry) and not o.split for o in outcomes)
    assert all(isinstance(o, Retry) and o.failing is (status != 429) for o in outcomes)


def test_a_refused_key_holds_the_whole_batch() -> None:
    outcomes = settled([user(ANNA), user(BEN)], {"code": "BadApiKey"}, 401)
    assert all(isinstance(o, Hold) for o in outcomes)
