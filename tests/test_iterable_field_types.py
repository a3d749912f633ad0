"""Fields of another type than Iterable wants: made to fit, taken out, remembered."""

from typing import Any

import orjson
import pytest

from app.outbound.answers import Reply, read
from app.outbound.coercion import coerce
from app.outbound.field_types import Complaint, FieldTypes, complaints
from app.outbound.request import IterableRequest


def profile(**fields: Any) -> IterableRequest:
    body = {"email": "a@example.com", "dataFields": fields}
    return IterableRequest("users/update", "POST", "/api/users/update", body)


def event(name: str, **fields: Any) -> IterableRequest:
    body = {"email": "a@example.com", "eventName": name, "dataFields": fields}
    return IterableRequest("events/track", "POST", "/api/events/track", body)


def fields_of(request: IterableRequest) -> Any:
    assert request.body is not None
    return request.body["dataFields"]


@pytest.mark.parametrize(
    ("value", "expected", "result"),
    [
        (10, "string", "10"),
        (10.5, "string", "10.5"),
        (True, "keyword", "true"),
        ("10", "long", 10),
        (" -7 ", "long", -7),
        ("10.0", "long", 10),
        (10.0, "integer", 10),
        (10, "double", 10.0),
        ("1.5e3", "double", 1500.0),
        ("True", "boolean", True),
        ("false", "boolean", False),
        ("2024-11-25T13:37:19Z", "date", "2024-11-25 13:37:19 +00:00"),
        ("2024-11-25T13:37:19+02:00", "date", "2024-11-25 11:37:19 +00:00"),
        ("2024-11-25T13:37:19", "date", "2024-11-25 13:37:19 +00:00"),
        ({"lat": "1.5", "lon": 2}, "geo_location", {"lat": 1.5, "lon": 2.0}),
        ({"a": 1}, "nested", [{"a": 1}]),
        ([1, "2"], "long", [1, 2]),
        ([1, 2], "string", ["1", "2"]),
    ],
)
def test_what_is_unambiguous_is_made_to_fit(value: Any, expected: str, result: Any) -> None:
    coerced = coerce(value, expected)
    assert coerced == result
    assert type(coerced) is type(result)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "string"),
        (10, "long"),
        (1.5, "double"),
        (True, "boolean"),
        ("2024-11-25", "date"),
        ("2024-11-25 13:37:19", "date"),
        ("2024-11-25 13:37:19 +00:00", "date"),
        ("2024-11-25T13:37:19.000Z", "date"),
        ({"lat": 1, "lon": 2.5}, "geo_point"),
        ({"a": 1}, "object"),
        ([{"a": 1}], "nested"),
        (["a", "b"], "string"),
        (None, "long"),
    ],
)
def test_what_fits_stays_the_same_object(value: Any, expected: str) -> None:
    assert coerce(value, expected) is value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": 1}, "string"),
        ("abc", "long"),
        ("007", "long"),  # leading zeros would be lost
        (10.5, "long"),
        (True, "long"),
        ("99999999999999999999", "long"),
        ("9999999999999999999", "long"),
        ("1,5", "double"),
        ("1e999", "double"),
        (2**53 + 1, "double"),
        (True, "double"),
        (1, "boolean"),
        ("yes", "boolean"),
        (1_700_000_000, "date"),  # seconds or milliseconds?
        ("tomorrow", "date"),
        ("2024-13-45T00:00:00Z", "date"),
        ({"lat": 1}, "geo_location"),
        ({"lat": 1, "lon": "east"}, "geo_location"),
        ("text", "object"),
        (["text"], "nested"),
        ([1, "x"], "long"),
        ("text", "a type of tomorrow"),
    ],
)
def test_what_is_ambiguous_is_refused(value: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        coerce(value, expected)


def refusal(errors: Any, code: str = "RequestFieldsTypesMismatched", status: int = 400) -> Reply:
    name = "newFields" if code == "UniqueFieldsLimitExceeded" else "validationErrors"
    body = orjson.dumps({"msg": "", "code": code, "params": {name: errors}})
    return read(status, {}, body, 0.0)


def test_a_refusals_fields_are_read_in_all_their_spellings() -> None:
    found = complaints(
        refusal(
            {
                "age": {"expectedType": "Long", "offendingValue": "x", "_type": "UnexpectedType"},
                "my_project:::plan.price": {"expectedType": "double"},
                "dataFields.vip": {"incomingTypes": ["string"]},
                "shoppingCartItems.colour": {"expectedType": "string"},
                "items.dataFields.size": "odd",
            }
        )
    )
    assert found == {
        "age": Complaint("long", "x"),
        "plan.price": Complaint("double"),
        "vip": Complaint(None),
        "items.colour": Complaint("string"),
        "items.size": Complaint(None),
    }


@pytest.mark.parametrize("errors", [None, {}, [], "text"])
def test_a_refusal_may_name_no_field(errors: Any) -> None:
    assert complaints(refusal(errors)) == {}
    assert complaints(refusal(errors or None, "UniqueFieldsLimitExceeded")) in ({}, {})
    assert complaints(refusal({"a": {}}, "BadParams")) == {}


def test_a_field_is_coerced_and_the_rest_left_alone() -> None:
    request = profile(age="42", plan={"price": 10, "name": "x"}, tags=[{"n": 1}])
    types = FieldTypes()
    fixed = types.repair(
        [request],
        {
            "age": Complaint("long", "42"),
            "plan.price": Complaint("double"),
            "tags.n": Complaint("string"),
        },
    )[0]
    assert fields_of(fixed) == {
        "age": 42,
        "plan": {"price": 10.0, "name": "x"},
        "tags": [{"n": "1"}],
    }
    assert type(fields_of(fixed)["plan"]["price"]) is float
    assert fixed.refused == {}
    assert fixed.repairs == 1
    assert fields_of(request)["age"] == "42"


def test_a_field_that_cannot_fit_is_taken_out_and_kept() -> None:
    request = profile(age="old", plan={"price": "free", "name": "x"}, tags=[{"n": {}}, {"n": 1}])
    fixed = FieldTypes().repair(
        [request],
        {
            "age": Complaint("long"),
            "plan.price": Complaint("double"),
            "tags.n": Complaint("long"),
        },
    )[0]
    assert fields_of(fixed) == {"plan": {"name": "x"}, "tags": [{}, {"n": 1}]}
    assert fixed.refused == {"age": "old", "plan.price": "free", "tags[0].n": {}}


def test_purchases_are_repaired_in_their_user_and_items_too() -> None:
    body = {
        "user": {"email": "a@example.com", "dataFields": {"vip": "true"}},
        "items": [
            {"id": "1", "dataFields": {"size": "L"}},
            {"id": "2", "dataFields": {"size": 40}},
            {"id": "3"},
        ],
        "dataFields": {"size": "huge"},
    }
    request = IterableRequest("commerce/trackPurchase", "POST", "/", body)
    fixed = FieldTypes().repair(
        [request], {"vip": Complaint("boolean"), "items.size": Complaint("long")}
    )[0]
    assert fixed.body == {
        "user": {"email": "a@example.com", "dataFields": {"vip": True}},
        "items": [
            {"id": "1", "dataFields": {}},
            {"id": "2", "dataFields": {"size": 40}},
            {"id": "3"},
        ],
        "dataFields": {"size": "huge"},
    }
    assert fixed.refused == {"items[0].size": "L"}


def test_the_next_record_is_right_the_first_time_and_others_are_not_touched() -> None:
    types = FieldTypes()
    types.repair([event("Seen", age="1")], {"age": Complaint("long")})
    assert fields_of(types.fit(event("Seen", age="2"))) == {"age": 2}
    assert types.fit(event("Seen", age="old")).refused == {"age": "old"}
    for request in (event("Seen", age=3), event("Bought", age="4"), profile(age="5")):
        assert types.fit(request) is request


def test_profile_types_hold_for_bulk_and_single_alike() -> None:
    types = FieldTypes()
    types.repair([profile(age="1")], {"age": Complaint("long")})
    bulk = IterableRequest("users/bulkUpdate", "POST", "/", {"dataFields": {"age": "2"}})
    assert fields_of(types.fit(bulk)) == {"age": 2}


def test_memory_is_bounded() -> None:
    types = FieldTypes(capacity=2)
    for name in ("first", "second", "third"):
        types.learn(f"event {name}", {"age": "long"})
    forgotten = event("first", age="1")
    assert types.fit(forgotten) is forgotten
    assert fields_of(types.fit(event("third", age="1"))) == {"age": 1}


def test_a_field_that_looks_right_but_is_refused_has_to_go() -> None:
    fixed = FieldTypes().repair(
        [profile(day="2024-01-01", n=1)], {"day": Complaint("date"), "missing": Complaint(None)}
    )[0]
    assert fields_of(fixed) == {"n": 1}
    assert fixed.refused == {"day": "2024-01-01"}


def test_a_field_that_is_not_there_cannot_be_repaired() -> None:
    assert FieldTypes().repair([profile(n=1)], {"other": Complaint("long")}) == {}


def test_new_fields_beyond_the_projects_limit_are_taken_out_but_not_remembered() -> None:
    types = FieldTypes()
    named = complaints(refusal(["shoe"], "UniqueFieldsLimitExceeded"))
    fixed = types.repair([profile(shoe=42, n=1), profile(n=2)], named)
    assert fields_of(fixed[0]) == {"n": 1}
    assert fixed[0].refused == {"shoe": 42}
    assert 1 not in fixed
    again = profile(shoe=43)
    assert types.fit(again) is again


def test_in_company_only_those_to_blame_are_changed() -> None:
    fixed = FieldTypes().repair(
        [profile(age=1), profile(age="2"), profile(n=3), profile(age="old")],
        {"age": Complaint("long", "2")},
    )
    assert fixed.keys() == {1, 3}
    assert fields_of(fixed[1]) == {"age": 2}
    assert fixed[3].refused == {"age": "old"}


def test_in_company_without_a_type_nobody_is_blamed() -> None:
    assert FieldTypes().repair([profile(age=1), profile(age=2)], {"age": Complaint(None)}) == {}


def test_the_quoted_value_tells_which_event_is_meant() -> None:
    requests = [event("Seen", age="x"), event("Bought", age="y"), event("Seen", age=1)]
    fixed = FieldTypes().repair(requests, {"age": Complaint("long", "y")})
    assert fixed.keys() == {1}
    listed = [event("Seen", age=["x"]), event("Bought", age="y")]
    assert FieldTypes().repair(listed, {"age": Complaint("long", "x")}).keys() == {0}


def test_when_several_events_may_be_meant_nobody_is_blamed() -> None:
    requests = [event("Seen", age="x"), event("Bought", age="y")]
    types = FieldTypes()
    assert types.repair(requests, {"age": Complaint("long")}) == {}
    assert types.fit(requests[0]) is requests[0]
