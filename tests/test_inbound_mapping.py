"""What an Iterable webhook becomes: the cases of tests/cases/inbound, and what no case can say."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from segment.analytics import Client

from app.errors import BadInput
from app.inbound import schemas
from app.inbound.events import EVENT_TYPES, unknown_event
from app.inbound.mapping import WebhookMapper
from app.inbound.message import LIBRARY, SegmentMessage
from app.inbound.schemas import WebhookSchema, check_webhook
from app.inbound.times import event_time
from app.mapping_settings import InboundMapping
from app.outcomes import Discarded
from app.settings import Settings

CASES = {
    path.stem: orjson.loads(path.read_bytes())
    for path in sorted((Path(__file__).parent / "cases/inbound").glob("*.json"))
}
MODES = [
    pytest.param(case, mode, id=f"{name}-{mode}")
    for name, case in CASES.items()
    for mode in ("iterable", "spec")
    if mode == "iterable" or "spec_messages" in case
]
RECEIVED_AT = 1_700_000_000.0


def settings_of(case: dict[str, Any]) -> Settings:
    given = dict(case.get("settings", {}))
    inbound = InboundMapping(**given.pop("inbound", {}))
    return replace(Settings(), inbound=inbound, **given)


def outcome_of(case: dict[str, Any], mode: str) -> dict[str, Any]:
    """What the case's webhook becomes, in the case's own words."""
    mapper = WebhookMapper(replace(settings_of(case), inbound_properties=mode))
    try:
        webhook = check_webhook(case["webhook"])
    except BadInput as error:
        return {"error": {"code": error.code, "fields": sorted(error.errors)}}
    mapped = mapper.map(webhook, case.get("received_at", RECEIVED_AT))
    if isinstance(mapped, Discarded):
        return {"discarded": mapped.reason}
    messages = [message.describe() for message in mapped]
    for message in messages:
        assert message["context"].pop("library") == LIBRARY
    return {"messages": messages}


def one(webhook: dict[str, Any], settings: Settings | None = None) -> SegmentMessage:
    mapped = WebhookMapper(settings or Settings()).map(webhook, RECEIVED_AT)
    assert not isinstance(mapped, Discarded)
    return mapped[0]


@pytest.mark.parametrize(("case", "mode"), MODES)
def test_webhook_becomes_what_its_case_says(case, mode):
    wanted = {name: case[name] for name in ("messages", "discarded", "error") if name in case}
    if mode == "spec":
        wanted = {"messages": case["spec_messages"]}
    assert outcome_of(case, mode) == wanted


@pytest.mark.parametrize("event", EVENT_TYPES, ids=lambda event: event.iterable)
def test_every_row_of_the_table_has_a_case_in_both_property_modes(event):
    case = CASES.get(event.iterable, {})
    assert case.get("webhook", {}).get("eventName") == event.iterable, "add tests/cases/inbound"
    assert {"messages", "spec_messages"} <= case.keys()


def test_no_two_rows_are_for_one_event_name():
    names = [event.iterable.lower() for event in EVENT_TYPES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("fooBarSend", "Foo Bar Send"),
        ("inAppPeek", "In App Peek"),
        ("smsOptIn", "SMS Opt In"),
        ("rcsSeen", "RCS Seen"),
        ("whatsAppFlowSubmit", "WhatsApp Flow Submit"),
        ("WhatsAppFlow", "WhatsApp Flow"),
        ("HTMLRender", "HTML Render"),
        ("step2Done", "Step2 Done"),
        ("list_subscribe now", "List Subscribe Now"),
        ("___", "___"),
    ],
)
def test_an_unknown_event_is_named_after_itself(name, segment):
    assert unknown_event(name).segment == segment


def test_describes_a_message_exactly_as_analytics_python_sends_it():
    client = Client("key", send=False)
    case = CASES["emailUnSubscribe"]
    mapped = WebhookMapper(Settings(inbound_identify=True)).map(case["webhook"], RECEIVED_AT)
    assert not isinstance(mapped, Discarded)
    track, identify = mapped
    common = {
        "context": dict(track.context),
        "timestamp": track.timestamp,
        "integrations": {"Iterable": False},
    }
    _, sent = client.track(
        "u-17", track.event, dict(track.body), message_id=track.message_id, **common
    )
    assert track.describe() == sent
    _, sent = client.identify("u-17", dict(identify.body), message_id=identify.message_id, **common)
    assert identify.describe() == sent


@pytest.mark.parametrize("text", ["plain", 'quote " and \\', "é", "日本語", "🙂🙂", "tab\t"])
def test_size_is_never_less_than_what_analytics_python_counts(text):
    message = one({"eventName": "x", "userId": "u", "dataFields": {"a": [text, 1.5, {text: None}]}})
    assert len(json.dumps(message.describe())) <= message.size < 1_000
    assert message.endpoint == "batch"


def test_ip_stays_a_property_where_it_is_no_text():
    message = one({"eventName": "emailOpen", "userId": "u", "dataFields": {"ip": None}})
    assert message.body == {"ip": None}
    assert "ip" not in message.context


def test_spec_properties_never_replace_what_came():
    fields = {"campaignId": 1, "campaign_id": "mine", "emailListIds": [], "userListIds": [7]}
    message = one(
        {"eventName": "emailSubscribe", "userId": "u", "dataFields": fields},
        Settings(inbound_properties="spec"),
    )
    assert message.body == fields | {"list_id": 7}


@pytest.mark.parametrize(
    ("webhook", "person"),
    [
        ({"userId": "U-17", "email": "a@example.com"}, "U-17"),
        ({"email": "Ada@Example.com"}, "ada@example.com"),
        ({"dataFields": {"email": "Ada@Example.com"}}, "ada@example.com"),
        ({}, ""),
    ],
)
def test_person_is_the_user_id_or_the_address_in_lower_case(webhook, person):
    assert WebhookMapper(Settings()).person(webhook) == person


def test_the_same_webhook_has_one_message_id_in_every_process():
    webhook = {"eventName": "pushOpen", "userId": "é", "dataFields": {"b": 1, "a": [None, 1.5]}}
    turned = {"dataFields": {"a": [None, 1.5], "b": 1}, "userId": "é", "eventName": "pushOpen"}
    code = (
        "import sys, orjson; from app.settings import Settings;"
        "from app.inbound.mapping import WebhookMapper;"
        "print(WebhookMapper(Settings()).message_id(orjson.loads(sys.argv[1])))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, orjson.dumps(turned)], capture_output=True, check=True
    )
    mapper = WebhookMapper(Settings())
    first, again = mapper.message_id(webhook), mapper.message_id(turned)
    assert first == again == other.stdout.decode().strip()
    assert len(first) <= 100


def test_different_webhooks_never_share_a_message_id():
    base = {"eventName": "pushSend", "userId": "u", "dataFields": {"platformEndpoint": "a"}}
    others = [
        base | {"dataFields": {"platformEndpoint": "b"}},
        base | {"dataFields": {"platformEndpoint": "a", "badge": None}},
        base | {"userId": "v"},
        base | {"eventName": "pushOpen"},
        base | {"dataFields": {"platformEndpoint": 1}},
        base | {"dataFields": {"platformEndpoint": 1.0}},
        base | {"dataFields": {"platformEndpoint": True}},
    ]
    mapper = WebhookMapper(Settings(inbound_identify=True))
    ids = {mapper.message_id(webhook) for webhook in [base, *others]}
    assert len(ids) == 8


def test_the_identify_has_an_id_of_its_own():
    webhook = {"eventName": "emailSubscribe", "userId": "u"}
    mapped = WebhookMapper(Settings(inbound_identify=True)).map(webhook, RECEIVED_AT)
    assert isinstance(mapped, tuple)
    assert mapped[0].message_id != mapped[1].message_id


@pytest.mark.parametrize(
    ("created_at", "wanted"),
    [
        ("2016-12-02 20:21:04 +00:00", datetime(2016, 12, 2, 20, 21, 4, tzinfo=UTC)),
        ("2016-12-02 20:21:04", datetime(2016, 12, 2, 20, 21, 4, tzinfo=UTC)),
        (" 2016-12-02T22:21:04+02:00 ", datetime(2016, 12, 2, 20, 21, 4, tzinfo=UTC)),
        ("2016-12-02", datetime(2016, 12, 2, tzinfo=UTC)),
        (1480710064, datetime(2016, 12, 2, 20, 21, 4, tzinfo=UTC)),
        (1480710064000, datetime(2016, 12, 2, 20, 21, 4, tzinfo=UTC)),
        (1480710064000.0, datetime(2016, 12, 2, 20, 21, 4, tzinfo=UTC)),
    ],
)
def test_reads_created_at_in_each_of_its_forms(created_at, wanted):
    assert event_time(created_at, RECEIVED_AT) == wanted


@pytest.mark.parametrize(
    "created_at", [None, "", "soon", 0, -5, 1e300, True, [], {}, "0001-01-01T00:00:00+10:00"]
)
def test_counts_the_receipt_where_created_at_is_unusable(created_at):
    assert event_time(created_at, RECEIVED_AT) == datetime.fromtimestamp(RECEIVED_AT, UTC)


PLAIN: list[Any] = [None, "", " ", "a@example.com", 7, 7.5, True, [], {}, {"email": "b@b.example"}]


@pytest.mark.parametrize("event_name", [*PLAIN, "emailOpen"])
@pytest.mark.parametrize("field", ["email", "userId", "dataFields"])
@pytest.mark.parametrize("value", PLAIN)
def test_the_quick_check_passes_only_what_the_schema_leaves_as_it_is(event_name, field, value):
    webhook = {"eventName": event_name, "userId": "u", "extra": 1, field: value}
    problems = WebhookSchema().validate(webhook)
    left_as_it_is = not problems and WebhookSchema().load(webhook) == webhook
    assert schemas._is_plain(webhook) == left_as_it_is
    assert set(problems) <= {"eventName", field}


def test_an_ordinary_webhook_needs_no_schema():
    webhook = CASES["emailClick"]["webhook"]
    assert check_webhook(webhook) is webhook  # the schema would have made another


@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_refuses_a_webhook_that_is_nested_too_deeply(brackets):
    left, right = brackets
    deep = orjson.loads(left * 400 + "1" + right * 400)
    with pytest.raises(BadInput) as caught:
        check_webhook({"eventName": "x", "userId": "u", "dataFields": {"deep": deep}})
    assert caught.value.code == "invalid_webhook"
    assert list(caught.value.errors) == ["dataFields"]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_no_number_that_json_does_not_know_gets_in(text):
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(f'{{"eventName":"x","userId":"u","dataFields":{{"n":{text}}}}}')
