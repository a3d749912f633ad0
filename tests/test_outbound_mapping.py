"""Every row of the outbound mapping, as JSON cases: to add one, drop a file into
tests/cases/outbound."""

import copy
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.errors import BadInput
from app.mapping_settings import OutboundMapping
from app.outbound import bulk, events
from app.outbound.dates import read
from app.outbound.endpoints import LIFTABLE
from app.outbound.identity import iterable_id
from app.outbound.lookup import Names
from app.outbound.mapping import CallMapper, message_id, person
from app.outbound.request import MOBILE, SERVER, WEB, IterableRequest
from app.outbound.schemas import CALL_TYPES, check_call
from app.outcomes import Discarded
from app.settings import ProjectType, Settings, SettingsSchema
from tests.iterable_models import problems

FILES = sorted((Path(__file__).parent / "cases/outbound").glob("*.json"))
CASES: dict[str, dict[str, Any]] = {file.stem: orjson.loads(file.read_bytes()) for file in FILES}
NOON = 1_709_294_400.75  # 2024-03-01T12:00:00.75Z


def settings_of(case: dict[str, Any]) -> Settings:
    values = {"BRIDGE_ALLOW_UNAUTHENTICATED": True, **case.get("settings", {})}
    checked: dict[str, Any] = SettingsSchema().load(values)
    return Settings(**{name.lower(): value for name, value in checked.items()})


def outcome_of(case: dict[str, Any]) -> tuple[IterableRequest, ...] | Discarded:
    mapper = CallMapper(settings_of(case))
    received_at, door = case.get("received_at", NOON), case.get("door", "tracking")
    return mapper.map(check_call(case["call"]), received_at, door)


def mapped(call: dict[str, Any], settings: Settings | None = None) -> list[dict[str, Any]]:
    outcome = CallMapper(settings or Settings()).map(check_call(call), NOON, "tracking")
    assert not isinstance(outcome, Discarded)
    return [request.body or {} for request in outcome]


def canonical(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


@pytest.mark.parametrize("name", CASES)
def test_case(name):
    case = CASES[name]
    before = copy.deepcopy(case["call"])
    if "error" in case:
        with pytest.raises(BadInput) as raised:
            outcome_of(case)
        assert raised.value.code == case["error"]["code"]
        assert sorted(raised.value.errors) == sorted(case["error"]["fields"])
        assert raised.value.message
    else:
        outcome = outcome_of(case)
        if isinstance(outcome, Discarded):
            assert outcome.reason == case.get("discarded"), outcome
        else:
            found = [request.describe() for request in outcome]
            assert found == case["requests"]
            assert canonical(found) == canonical(case["requests"]), "1, 1.0 and true differ in JSON"
    assert case["call"] == before, "the input was changed"


REQUESTS = [
    pytest.param(request, id=f"{name}-{index}")
    for name, case in CASES.items()
    if "requests" in case
    for index, request in enumerate(case["requests"])
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_every_request_is_one_that_iterable_takes(request_):
    assert problems(request_["method"], request_["path"], request_["body"]) == {}


@pytest.mark.parametrize("request_", REQUESTS)
def test_every_request_is_one_that_iterable_takes_in_batches_too(request_):
    alone = IterableRequest(
        request_["path"].removeprefix("/api/"),
        request_["method"],
        request_["path"],
        request_["body"],
    )
    together = bulk.entry(alone).describe()
    assert problems(together["method"], together["path"], together["body"]) == {}


def _requests() -> list[dict[str, Any]]:
    return [request for case in CASES.values() for request in case.get("requests", [])]


def test_every_case_says_what_it_is_about_and_expects_one_thing():
    for name, case in CASES.items():
        assert case["description"], name
        assert len(case.keys() & {"requests", "discarded", "error"}) == 1, name
        allowed = {"description", "settings", "door", "received_at", "call"}
        assert not case.keys() - allowed - {"requests", "discarded", "error"}, name


def test_every_call_type_has_a_case():
    calls = [case["call"] for case in CASES.values() if isinstance(case["call"], dict)]
    assert {call.get("type") for call in calls} >= CALL_TYPES


def test_every_endpoint_has_a_case():
    found = {
        "users/delete" if request["method"] == "DELETE" else request["path"].removeprefix("/api/")
        for request in _requests()
    }
    assert found == {
        "users/update",
        "users/updateEmail",
        "users/registerDeviceToken",
        "users/registerBrowserToken",
        "users/delete",
        "users/forget",
        "events/track",
        "commerce/updateCart",
        "commerce/trackPurchase",
    }


def test_every_option_has_a_case():
    used: dict[str, set[str]] = {}
    for case in CASES.values():
        for name, value in case.get("settings", {}).items():
            if name == "outbound":
                for option in value:
                    used.setdefault(f"outbound.{option}", set())
            else:
                used.setdefault(name, set()).add(str(value))
    assert {f"outbound.{name}" for name in OutboundMapping.__dataclass_fields__} <= used.keys()
    assert {
        "TRACK_ALL_PAGES",
        "TRACK_CATEGORIZED_PAGES",
        "TRACK_NAMED_PAGES",
        "SEND_NULLS",
        "ITERABLE_MOBILE_API_KEY",
        "ITERABLE_WEB_API_KEY",
        "ITERABLE_APPLICATION_NAME",
    } <= used.keys()
    assert used["ON_DELETE"] == {"ignore", "delete", "forget"}
    assert "keep" in used["DATE_ONLY_STRINGS"]
    assert used["ITERABLE_PROJECT_TYPE"] >= {kind.value for kind in ProjectType}


def test_every_reason_to_discard_and_every_error_has_a_case():
    assert {case["discarded"] for case in CASES.values() if "discarded" in case} == {
        "loop",
        "integration_off",
        "unsupported_type",
        "page_tracking_off",
        "delete_ignored",
        "event_denied",
        "event_not_allowed",
    }
    assert {case["error"]["code"] for case in CASES.values() if "error" in case} == {
        "not_an_object",
        "invalid_call",
        "no_identity",
        "invalid_product",
        "no_total",
    }


def test_the_content_of_a_request_says_the_same_as_its_body():
    case = CASES["purchase"]
    (request,) = outcome_of(case)  # type: ignore[misc]
    assert orjson.loads(request.content) == case["requests"][0]["body"]


def test_tokens_go_with_the_keys_that_may_register_them():
    case = CASES["tokens-before-new-email"]
    outcome = outcome_of(case)
    assert not isinstance(outcome, Discarded)
    assert [request.key for request in outcome] == [SERVER, MOBILE, WEB, SERVER]
    assert [request.endpoint for request in outcome] == [
        "users/update",
        "users/registerDeviceToken",
        "users/registerBrowserToken",
        "users/updateEmail",
    ]


def test_deletion_is_an_endpoint_of_its_own_whatever_the_path():
    (request,) = outcome_of(CASES["delete-by-userid"])  # type: ignore[misc]
    assert (request.endpoint, request.content) == ("users/delete", b"")


def test_every_property_that_the_settings_let_be_lifted_can_be():
    assert set(events._LIFTABLE) == set(LIFTABLE)


NESTED_CALLS = {
    "traits": {"type": "identify", "userId": "u1", "messageId": "m"},
    "properties": {"type": "track", "userId": "u1", "event": "A", "messageId": "m"},
    "context": {"type": "identify", "userId": "u1", "messageId": "m"},
}


@pytest.mark.parametrize("place", NESTED_CALLS)
@pytest.mark.parametrize("depth", [300, 900])
@pytest.mark.parametrize("kind", ["object", "array"])
def test_refuses_what_is_nested_deeper_than_a_body_can_carry(place, depth, kind):
    opened, closed = ('{"a":', "}") if kind == "object" else ("[", "]")
    deep = orjson.loads(opened * depth + "1" + closed * depth)
    call = {**NESTED_CALLS[place], place: {"page": deep}}
    with pytest.raises(BadInput) as raised:
        mapped(call)
    assert raised.value.code == "nested_too_deep"


def test_takes_what_is_nested_within_the_limit():
    deep = orjson.loads('{"a":' * 150 + "1" + "}" * 150)
    (body,) = mapped({**NESTED_CALLS["properties"], "properties": {"deep": deep}})
    assert orjson.loads(orjson.dumps(body))["dataFields"] == {"deep": deep}


def test_a_call_too_deep_to_get_an_id_is_refused():
    deep = orjson.loads('{"a":' * 300 + "1" + "}" * 300)
    with pytest.raises(BadInput) as raised:
        message_id({"type": "track", "userId": "u1", "event": "A", "context": deep})
    assert raised.value.code == "nested_too_deep"


def test_message_id_is_the_calls_own_where_it_has_one():
    assert message_id({"type": "track", "messageId": "ajs:1"}) == "ajs:1"


def test_message_id_of_a_repeat_is_the_same():
    call = {"type": "track", "event": "A", "userId": "u1", "timestamp": "2024-03-01T09:30:00Z"}
    again = {"userId": "u1", **call, "sentAt": "x", "receivedAt": "y", "writeKey": "z"}
    assert message_id(again) == message_id(call)
    assert message_id({**call, "messageId": " "}) != message_id({**call, "event": "B"})


def test_message_id_outlives_the_correction_of_the_senders_clock():
    call = {"type": "track", "event": "A", "originalTimestamp": "2024-03-01T09:30:00Z"}
    first, second = ({**call, "timestamp": f"2024-03-01T09:30:0{n}Z"} for n in (1, 2))
    assert message_id(first) == message_id(second)


def test_message_ids_of_different_calls_differ():
    call = {"type": "track", "event": "A", "timestamp": "2024-03-01T09:30:00Z"}
    changes: list[dict[str, Any]] = [
        {"event": "B"},
        {"timestamp": "2024-03-01T09:30:01Z"},
        {"originalTimestamp": "2024-03-01T09:30:00Z"},
        {"properties": {"a": 1}},
        {"userId": "u2"},
    ]
    assert len({message_id({**call, **change}) for change in [{}, *changes]}) == 6


def test_an_event_without_message_id_gets_the_same_id_at_every_sending():
    call = {"type": "track", "userId": "u1", "event": "A", "timestamp": "2024-03-01T09:30:00Z"}
    assert mapped(call) == mapped({**call, "sentAt": "2024-03-01T09:31:00Z"})
    assert mapped(call)[0]["id"] == message_id(call)


@pytest.mark.parametrize(
    ("call", "key"),
    [
        ({"type": "track", "userId": "u1", "context": {"traits": {"email": "A@B.example"}}}, "u1"),
        ({"type": "track", "context": {"traits": {"email": "A@B.example"}}}, "a@b.example"),
        ({"type": "identify", "traits": {"Email": "A@B.example"}}, "a@b.example"),
        ({"type": "identify", "userId": "A@B.example"}, "A@B.example"),
        ({"type": "track", "anonymousId": "anon"}, ""),
    ],
)
def test_the_logs_key_is_the_userid_else_the_lower_cased_email(call, key):
    assert person(call) == key


@pytest.mark.parametrize("text", ["a", "A-1", "x" * 512])
def test_an_id_that_iterable_takes_is_sent_as_it_is(text):
    assert iterable_id(text) == text


@pytest.mark.parametrize("text", ["a_b", "x" * 513, "é", "a\n", "a b"])
def test_any_other_id_is_sent_as_a_stable_hash(text):
    hashed = iterable_id(text)
    assert hashed == iterable_id(text) != text
    assert iterable_id(hashed) == hashed


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        [],
        {},
        "",
        0,
        "1970-01-01T00:00:00Z",
        "soon",
        "2024-2-30",
        "2024",
        1e300,
        "9999-12-31T23:59:59-10:00",
    ],
)
def test_what_is_no_time_is_read_as_none(value):
    assert read(value) is None


@pytest.mark.parametrize(
    "value",
    [
        1_709_285_400,
        1_709_285_400_000,
        "1709285400",
        "1709285400000",
        "2024-03-01T09:30:00Z",
        "2024-03-01t09:30:00z",
        "2024-03-01 09:30:00 +00:00",
        " 2024-3-1 09:30 ",
        "2024-03-01T10:30:00.0000000+01:00",
        "20240301T093000Z",
    ],
)
def test_a_time_is_read_in_any_usual_spelling(value):
    moment = read(value)
    assert moment is not None
    assert moment.timestamp() == 1_709_285_400


def test_keys_too_long_to_be_remembered_are_found_all_the_same():
    assert Names("product_id").values({"x" * 5000: 1, "Product ID": "p1"}) == {"product_id": "p1"}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ({"email": None, "Email": None, "E-mail": "a"}, "a"),
        ({"Email": "a", "EMAIL": "b"}, "a"),
        ({"Email": "a", "email": "b", "EMAIL": "c"}, "b"),
        ({"Email": None}, None),
        ({}, None),
    ],
)
def test_of_several_spellings_the_exact_one_counts_then_the_first_nulls_apart(source, found):
    assert Names("email").values(source).get("email") == found
