"""Every row of Iterable's response codes, in every shape that its answers come in."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from app.outbound.answers import LONGEST_ANSWER, judge, read
from app.outbound.request import MOBILE, IterableRequest
from app.outcomes import Dead, Delivered, Hold, Outcome, Retry

NOW = 1_700_000_000.0

UPDATE = IterableRequest("users/update", "POST", "/api/users/update", {"email": "a@example.com"})
TRACK = IterableRequest("events/track", "POST", "/api/events/track", {"eventName": "Seen"})
FORGET = IterableRequest("users/forget", "POST", "/api/users/forget", {"email": "a@example.com"})
DELETE = IterableRequest("users/delete", "DELETE", "/api/users/a%40example.com", None)
TOKEN = IterableRequest("users/registerDeviceToken", "POST", "/api/x", {"token": "t"}, MOBILE)
CHANGE = IterableRequest(
    "users/updateEmail",
    "POST",
    "/api/users/updateEmail",
    {"currentEmail": "old@example.com", "newEmail": "new+1@example.com"},
)


def answer(
    status: int,
    code: str | None = None,
    message: str = "",
    params: Any = None,
    request: IterableRequest = UPDATE,
    headers: Mapping[str, str] | None = None,
) -> Outcome:
    """Judge an answer of the standard shape."""
    body = orjson.dumps({"msg": message, "code": code, "params": params})
    return judge(read(status, headers or {}, body, NOW), request)


@pytest.mark.parametrize(
    ("status", "code", "message", "reason"),
    [
        (400, "BadJsonBody", "", "bad_json_body"),
        (400, "BadParams", "eventName is required", "bad_params"),
        (400, "BatchTooLarge", "", "too_large"),
        (413, None, "", "too_large"),
        (400, "EmailAlreadyExists", "New email already exists", "email_taken"),
        (400, "EmailAlreadyExists", "New email is on the forgotten list", "forgotten_user"),
        (400, "UserIdAlreadyExists", "", "user_id_taken"),
        (400, "ForgottenUserError", "", "forgotten_user"),
        (409, "ForgottenUserError", "", "forgotten_user"),
        (400, "InvalidEmailAddressError", "Invalid email: none", "invalid_email"),
        (400, "InvalidUserIdError", "", "invalid_user_id"),
        (400, "RequestFieldsTypesMismatched", "", "field_types"),
        (500, "RequestFieldsTypesMismatched", "", "field_types"),
        (400, "UniqueFieldsLimitExceeded", "", "field_limit"),
        (400, "QueueEmailError", "", "queue_email_error"),
        (409, "ExternalKeyConflict", "", "conflict"),
        (409, "Conflict", "", "conflict"),
        (409, None, "", "conflict"),
        (400, "Success", "error.lists.invalidListId", "invalid_list_id"),
        (400, "Success", "", "http_400"),
        (400, "error.something.odd", "", "http_400"),
        (422, "BrandNewError", "", "brand_new_error"),
    ],
)
def test_what_can_never_succeed_is_dead(
    status: int, code: str | None, message: str, reason: str
) -> None:
    outcome = answer(status, code, message)
    assert isinstance(outcome, Dead)
    assert outcome.reason == reason
    assert outcome.answer is not None
    assert outcome.answer.status == status


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (401, "BadApiKey", "ITERABLE_API_KEY is refused"),
        (401, "Success", "ITERABLE_API_KEY is refused"),
        (401, "BadAuthorizationHeader", "ITERABLE_API_KEY is refused"),
        (401, "Unauthorized", "ITERABLE_API_KEY is refused"),
        (401, "InvalidJwtPayload", "use a key without JWT"),
        (400, "InvalidJwtPayload", "use a key without JWT"),
        (400, "JwtUserIdentifiersMismatched", "use a key without JWT"),
        (403, "Forbidden", "has no right to use users/update"),
        (403, "ForbiddenParamsError", "has no right to use users/update"),
        (400, "Forbidden", "has no right to use users/update"),
        (402, None, "has no right"),
        (404, "NotFound", "users/update is unknown there"),
        (404, "error.catalogs.notFound", "users/update is unknown there"),
        (405, None, "users/update is unknown there"),
        (407, None, "check ITERABLE_BASE_URL"),
        (301, None, "check ITERABLE_BASE_URL"),
    ],
)
def test_a_wrong_key_or_address_holds_the_direction_and_burns_nothing(
    status: int, code: str | None, hint: str
) -> None:
    outcome = answer(status, code, "Invalid API key")
    assert isinstance(outcome, Hold)
    assert hint in outcome.reason
    assert f"HTTP {status}" in outcome.reason


def test_a_hold_names_the_setting_of_the_key_that_was_used() -> None:
    outcome = answer(401, "BadApiKey", params={"apiKeyType": "ServerSide"}, request=TOKEN)
    assert isinstance(outcome, Hold)
    assert "ITERABLE_MOBILE_API_KEY" in outcome.reason


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "UnknownEmailError", ""),
        (400, "UnknownUserIdError", ""),
        (400, "BadParams", "User DOES NOT EXIST"),
        (400, "error.users.noUserWithIdExists", ""),
        (404, "error.users.noUserWithIdExists", ""),
        (404, "NotFound", "User does not exist"),
    ],
)
def test_an_unknown_user_may_turn_up_later(status: int, code: str, message: str) -> None:
    outcome = answer(status, code, message)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "unknown_user"
    assert (outcome.failing, outcome.limited, outcome.split) == (False, False, False)
    assert outcome.after is None


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (408, None, "timeout"),
        (425, None, "http_425"),
        (500, "DatabaseError", "http_500"),
        (500, "GenericError", "http_500"),
        (500, "QueueEmailError", "http_500"),
        (502, None, "http_502"),
        (503, None, "http_503"),
        (504, None, "http_504"),
    ],
)
def test_a_failing_partner_is_retried(status: int, code: str | None, reason: str) -> None:
    outcome = answer(status, code)
    assert isinstance(outcome, Retry)
    assert outcome.failing
    assert outcome.reason == reason


@pytest.mark.parametrize(
    ("headers", "params", "after"),
    [
        ({}, {}, None),
        ({"Retry-After": "7"}, {}, 7.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT"}, {}, 30.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:10 GMT"}, {}, None),
        ({"Retry-After": "soon"}, {}, None),
        ({"Retry-After": "0"}, {}, None),
        ({"Retry-After": "inf"}, {}, None),
        ({}, {"rateLimitLimit": 10, "rateLimitReset": 4}, 4.0),
        ({}, {"rateLimitReset": {}}, None),
        ({"Retry-After": "2"}, {"rateLimitReset": 4}, 2.0),
    ],
)
def test_the_wait_that_iterable_asks_for_is_obeyed(
    headers: dict[str, str], params: dict[str, Any], after: float | None
) -> None:
    outcome = answer(429, "RateLimitExceeded", params=params, headers=headers)
    assert isinstance(outcome, Retry)
    assert outcome.limited
    assert not outcome.failing
    assert outcome.after == after


@pytest.mark.parametrize("status", [200, 201, 202])
def test_any_2xx_is_accepted(status: int) -> None:
    assert isinstance(answer(status, "Success"), Delivered)


@pytest.mark.parametrize("body", [b"", b"queued", b"[]", b'{"params":[]}'])
def test_a_success_may_come_in_any_shape(body: bytes) -> None:
    assert isinstance(judge(read(202, {}, body, NOW), UPDATE), Delivered)


def test_a_web_page_instead_of_an_answer_is_no_success() -> None:
    outcome = judge(read(200, {}, b"\n<!doctype html><title>Hello</title>", NOW), UPDATE)
    assert isinstance(outcome, Hold)
    assert "ITERABLE_BASE_URL" in outcome.reason


@pytest.mark.parametrize("body", [b"", b"<html><title>502</title></html>", b"\xff\xfe"])
def test_a_gateways_error_needs_no_json(body: bytes) -> None:
    outcome = judge(read(502, {}, body, NOW), UPDATE)
    assert isinstance(outcome, Retry)
    assert outcome.failing


def test_the_catalogue_style_of_error_is_understood() -> None:
    body = b'{"error":"BadRequest","message":"User does not exist","code":"BadParams","data":null}'
    outcome = judge(read(400, {}, body, NOW), UPDATE)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "unknown_user"


def test_an_event_that_is_thrown_away_with_200_is_kept_as_dead() -> None:
    outcome = answer(
        200, "Success", "Event 'Seen' is disallowed from tracking for this project.", request=TRACK
    )
    assert isinstance(outcome, Dead)
    assert outcome.reason == "event_disallowed"


def test_fields_left_out_before_come_back_with_the_success() -> None:
    request = IterableRequest("users/update", "POST", "/", {}, refused={"age": "old"})
    outcome = answer(200, "Success", request=request)
    assert isinstance(outcome, Delivered)
    assert outcome.refused == {"age": "old"}


def test_a_forgotten_users_address_is_kept_nowhere() -> None:
    for code in ("ForgottenUserError", "EmailAlreadyExists"):
        outcome = answer(400, code, "gone@example.com is on the forgotten list")
        assert isinstance(outcome, Dead)
        assert "gone@example.com" not in repr(outcome)


def test_a_long_answer_is_cut() -> None:
    outcome = judge(read(400, {}, b"x" * 100_000, NOW), UPDATE)
    assert isinstance(outcome, Dead)
    assert outcome.answer is not None
    assert len(outcome.answer.body) == LONGEST_ANSWER


@pytest.mark.parametrize(
    ("status", "code"), [(400, "BadParams"), (404, "NotFound"), (409, "ForgottenUserError")]
)
def test_deleting_a_user_who_is_gone_already_is_done(status: int, code: str) -> None:
    outcome = answer(status, code, "User does not exist", request=DELETE)
    assert isinstance(outcome, Delivered)


def test_forgetting_a_forgotten_user_is_done_but_an_unknown_one_may_turn_up() -> None:
    assert isinstance(answer(409, "ForgottenUserError", request=FORGET), Delivered)
    assert isinstance(answer(400, "UnknownEmailError", request=FORGET), Retry)


def test_a_change_of_address_that_finds_nobody_asks_for_the_new_address() -> None:
    outcome = answer(400, "BadParams", "Cannot change. User does not exist", request=CHANGE)
    assert isinstance(outcome, Retry)
    assert outcome.after == 0
    question = outcome.instead
    assert isinstance(question, IterableRequest)
    assert question.method == "GET"
    assert question.path == "/api/users/getByEmail?email=new%2B1%40example.com"
    assert question.endpoint == "users/getByEmail"

    known = judge(read(200, {}, b'{"user":{"email":"new+1@example.com"}}', NOW), question)
    assert isinstance(known, Delivered)
    for status, body in ((200, b"{}"), (404, b""), (400, b'{"code":"BadParams"}')):
        unknown = judge(read(status, {}, body, NOW), question)
        assert isinstance(unknown, Retry)
        assert unknown.instead is CHANGE
        assert unknown.after is None  # the usual backoff, so that attempts are counted


@pytest.mark.parametrize("status", [401, 429, 500])
def test_the_question_for_the_new_address_is_asked_again_when_it_was_not_answered(
    status: int,
) -> None:
    question = IterableRequest("users/getByEmail", "GET", "/api/x", None, original=CHANGE)
    outcome = judge(read(status, {}, b"", NOW), question)
    assert isinstance(outcome, Hold | Retry)
    assert getattr(outcome, "instead", None) is None
