"""What Segment may send, and that the quick look always agrees with marshmallow."""

import random
from typing import Any

import pytest
from marshmallow import INCLUDE, Schema, ValidationError, fields

from app.errors import BadInput
from app.outbound import schemas
from app.outbound.schemas import QuickLook, check_batch, check_call

SCHEMAS: dict[str, type[Schema]] = {
    "identify": schemas.IdentifySchema,
    "track": schemas.TrackSchema,
    "page": schemas.PageSchema,
    "screen": schemas.ScreenSchema,
    "alias": schemas.AliasSchema,
    "group": schemas.GroupSchema,
    "delete": schemas.DeleteSchema,
    "teleport": schemas.CallSchema,
}


@pytest.mark.parametrize("data", [None, 1, "track", [], [{"type": "track"}]])
def test_a_call_must_be_an_object(data):
    with pytest.raises(BadInput) as raised:
        check_call(data)
    assert raised.value.code == "not_an_object"


@pytest.mark.parametrize(
    ("sent", "read"), [("u1", "u1"), (42, "42"), (42.0, "42"), (4.5, "4.5"), (None, None), ("", "")]
)
def test_ids_are_texts_also_when_numbers_were_sent(sent, read):
    call = check_call({"type": "alias", "userId": sent, "previousId": sent, "anonymousId": sent})
    assert (call["userId"], call["previousId"], call["anonymousId"]) == (read, read, read)


@pytest.mark.parametrize("sent", [True, [], {"id": "u1"}])
def test_other_ids_are_refused_by_name(sent):
    with pytest.raises(BadInput) as raised:
        check_call({"type": "identify", "userId": sent})
    assert raised.value.errors == {"userId": ["must be a string or a number"]}
    assert "userId" in raised.value.message


@pytest.mark.parametrize(
    ("sent", "read"), [("x" * 5000, "x" * 5000), (7, "7"), (True, ""), ([1], ""), (None, None)]
)
def test_a_message_id_is_a_hint_and_never_refused(sent, read):
    assert check_call({"type": "track", "event": "A", "messageId": sent})["messageId"] == read


@pytest.mark.parametrize(
    ("event", "text"),
    [(None, "is missing"), ("", "must not be empty"), (" ", "must not be empty"), (5, "a string")],
)
def test_a_track_needs_an_event(event, text):
    with pytest.raises(BadInput) as raised:
        check_call({"type": "track", "userId": "u1", "event": event})
    assert text in raised.value.errors["event"][0]


def test_unknown_fields_and_types_are_kept():
    call = {"type": "teleport", "writeKey": "k", "_metadata": {"a.b": 1}, "a.b": [1]}
    assert check_call(call) == call


def test_a_call_is_not_changed_by_checking():
    call = {"type": "identify", "userId": 42, "messageId": 7}
    check_call(call)
    assert call == {"type": "identify", "userId": 42, "messageId": 7}


def test_a_batch_keeps_its_calls_as_they_came():
    body = {"batch": [{"type": "track"}, None, 5], "sentAt": 7, "sequence": 1, "context": None}
    assert check_batch(body) == body


@pytest.mark.parametrize(
    ("body", "code", "names"),
    [
        ([], "not_an_object", []),
        ({}, "invalid_batch", ["batch"]),
        ({"batch": {}}, "invalid_batch", ["batch"]),
        (
            {"batch": [], "writeKey": 5, "context": [], "integrations": "x"},
            "invalid_batch",
            ["context", "integrations", "writeKey"],
        ),
    ],
)
def test_a_malformed_batch_is_refused_by_name(body, code, names):
    with pytest.raises(BadInput) as raised:
        check_batch(body)
    assert raised.value.code == code
    assert sorted(raised.value.errors) == names


VALUES: list[Any] = [
    None, "", " ", "text", "identify", 0, 7, 7.0, 2.5, -1, 2**63, True, False, [], ["a"], {},
    {"a": 1}, {"a.b": {"c": None}}, "2024-03-01T09:30:00Z",
]  # fmt: skip


def generated(schema: Schema, chance: random.Random) -> dict[str, Any]:
    """A call of the schema's fields, mostly plain, with a few odd values and unknown fields."""
    plain: dict[type, list[Any]] = {
        fields.Dict: [{}, {"a": 1}, None],
        fields.Raw: ["2024-03-01T09:30:00Z", 5],
    }
    call: dict[str, Any] = {}
    for name, field in schema.fields.items():
        if chance.random() < 0.3:
            continue
        odd = chance.random() < 0.1
        call[name] = chance.choice(VALUES if odd else plain.get(type(field), ["text", "u1"]))
    if chance.random() < 0.3:
        call[chance.choice(["x", "x.y", "writeKey", ""])] = chance.choice(VALUES)
    return call


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_quick_look_never_passes_what_marshmallow_would_refuse_or_change(kind):
    schema = SCHEMAS[kind]()
    look = QuickLook(schema)
    chance = random.Random(kind)
    passed = 0
    for _ in range(600):
        call = generated(schema, chance)
        if look.is_plain(call):
            passed += 1
            assert schema.load(call) == call
    assert passed > 20, "the quick look is of no use when it passes nothing"


@pytest.mark.parametrize("kind", SCHEMAS)
def test_checking_has_marshmallows_word_in_every_case(kind):
    schema = SCHEMAS[kind]()
    chance = random.Random(kind)
    verdicts = set()
    for _ in range(600):
        call = {**generated(schema, chance), "type": kind}
        try:
            expected: Any = schema.load(call)
        except ValidationError as error:
            expected = error.messages
        try:
            found: Any = check_call(call)
        except BadInput as error:
            found = error.errors
            verdicts.add("refused")
        else:
            verdicts.add("taken")
        assert found == expected
    assert verdicts == {"refused", "taken"}


def test_a_field_that_the_quick_look_does_not_know_is_left_to_marshmallow():
    class Doubled(fields.String):
        def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
            return str(value) * 2

    class Odd(Schema):
        class Meta:
            unknown = INCLUDE

        a = Doubled()
        b = fields.String(load_default="there")
        c = fields.Dict(values=fields.String())

    look = QuickLook(Odd())
    assert look.check({"a": "x", "b": "y"}, "code", "thing") == {"a": "xx", "b": "y"}
    assert look.check({}, "code", "thing") == {"b": "there"}
    assert not look.is_plain({"b": "y", "c": {"d": 5}})
    assert look.is_plain({"b": "y"})
