"""`bridge preview`: the mapping's own examples, and whatever people give it."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from app.cli import bridge
from app.settings import NAMES
from tests.builders import nobody, track, webhook

IDENTIFY = (
    '{"userId":"u1","timestamp":"2024-03-01T09:30:00.500Z","traits":{"email":"a@example.com",'
    '"createdAt":"2023-12-24","phone":"+14155550100","vip":true},"type":"identify"}'
)
PROFILE = {
    "email": "a@example.com",
    "userId": "u1",
    "dataFields": {
        "email": "a@example.com",
        "createdAt": "2023-12-24 00:00:00 +00:00",
        "met": "2023-12-24 00:00:00 +00:00",
        "vip": True,
        "phoneNumber": "+14155550100",
        "profileUpdatedAt": "2024-03-01 09:30:00 +00:00",
    },
}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def preview(text: str | bytes, *arguments: str) -> Result:
    return CliRunner().invoke(bridge, ["preview", *arguments], input=text)


def shown(result: Result) -> list[Any]:
    found: list[Any] = json.loads(result.stdout)
    return found


def test_shows_the_request_of_an_identify() -> None:
    result = preview(IDENTIFY)
    assert result.exit_code == 0
    assert shown(result) == [{"method": "POST", "path": "/api/users/update", "body": PROFILE}]


def test_shows_the_request_of_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    page = {
        "type": "page",
        "userId": "u1",
        "name": "shoppingCart",
        "properties": {"url": "https://shop.example/cart"},
    }
    assert shown(preview(orjson.dumps(page))) == [{"discarded": "page_tracking_off"}]
    monkeypatch.setenv("TRACK_NAMED_PAGES", "true")
    (request,) = shown(preview(orjson.dumps(page)))
    assert request["path"] == "/api/events/track"
    assert request["body"]["eventName"] == "shoppingCart page"
    assert request["body"]["dataFields"] == {
        "url": "https://shop.example/cart",
        "name": "shoppingCart",
    }


def test_shows_the_message_of_a_webhook() -> None:
    body = webhook("emailClick", userId="u1")
    body["dataFields"] |= {"url": "https://shop.example", "ip": "1.2.3.4"}
    result = preview(orjson.dumps(body), "--inbound")
    assert result.exit_code == 0
    (message,) = shown(result)
    assert message["type"] == "track"
    assert message["event"] == "Email Link Clicked"
    assert message["userId"] == "u1"
    assert message["properties"]["url"] == "https://shop.example"
    assert message["context"]["traits"] == {"email": "ann@example.com"}
    assert message["context"]["ip"] == "1.2.3.4"
    assert message["integrations"] == {"Iterable": False}
    assert message["timestamp"].startswith("2026-03-01T09:30:00")
    again = preview(orjson.dumps(body), "--inbound")
    assert shown(again)[0]["messageId"] == message["messageId"]


def test_shows_what_is_discarded_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    result = preview('{"type":"group","userId":"u1","groupId":"g"}')
    assert (result.exit_code, shown(result)) == (0, [{"discarded": "unsupported_type"}])
    folder = Path("config")
    folder.mkdir()
    (folder / "bridge.toml").write_text('[inbound]\ndeny_events = ["emailOpen"]\n')
    result = preview(orjson.dumps(webhook()), "--inbound")
    assert (result.exit_code, shown(result)) == (0, [{"discarded": "event_denied"}])


def test_follows_the_mapping_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/bridge.toml").write_text(
        '[outbound.rename_events]\n"Song Played" = "Play"\n'
    )
    (request,) = shown(preview(orjson.dumps(track())))
    assert request["body"]["eventName"] == "Play"


@pytest.mark.parametrize("form", ["array", "lines", "lines with blanks", "windows lines"])
def test_takes_several_events(form: str) -> None:
    events = [track("u1"), track("u2"), track("ü3")]
    lines = [orjson.dumps(event) for event in events]
    text = {
        "array": orjson.dumps(events),
        "lines": b"\n".join(lines),
        "lines with blanks": b"\n\n".join(lines) + b"\n",
        "windows lines": b"\r\n".join(lines) + b"\r\n",
    }[form]
    result = preview(text)
    assert result.exit_code == 0
    assert [request["body"]["userId"] for request in shown(result)] == ["u1", "u2", "ü3"]
    assert "ü3" in result.stdout


def test_reads_a_file(tmp_path: Path) -> None:
    (tmp_path / "call.json").write_bytes(orjson.dumps(track()))
    result = CliRunner().invoke(bridge, ["preview", "call.json"])
    assert (result.exit_code, len(shown(result))) == (0, 1)


def test_the_same_call_shows_the_same_id_at_every_preview() -> None:
    one, two = (shown(preview(orjson.dumps(track())))[0] for _ in range(2))
    assert one["body"]["id"] == two["body"]["id"]


def test_a_bad_event_is_told_with_its_field_and_hides_no_good_one() -> None:
    result = preview(orjson.dumps([track("u1"), nobody(), 5, track("u2")]))
    assert result.exit_code == 1
    assert [request["body"]["userId"] for request in shown(result)] == ["u1", "u2"]
    assert "event 2: no_identity: a userId or an email is required" in result.stderr
    assert "  userId: a userId or an email is required" in result.stderr
    assert "event 3: not_an_object" in result.stderr


def test_a_bad_line_is_told_with_its_number_and_hides_no_good_one() -> None:
    good = orjson.dumps(track("u1"))
    result = preview(good + b"\n\n{oops\n" + good + b"\n{}")
    assert result.exit_code == 1
    assert len(shown(result)) == 2
    assert "line 3: invalid_json" in result.stderr
    assert "line 5: invalid_call" in result.stderr
    assert "  type: is missing" in result.stderr


def test_a_bad_webhook_is_told(tmp_path: Path) -> None:
    result = preview('{"eventName":"emailOpen","email":"1@placeholder.email"}', "--inbound")
    assert (result.exit_code, shown(result)) == (1, [])
    assert "no_identity" in result.stderr


@pytest.mark.parametrize("text", ["", "\n \n", "[]"])
def test_nothing_causes_nothing(text: str) -> None:
    result = preview(text)
    assert (result.exit_code, shown(result)) == (0, [])


def test_wrong_usage_exits_with_2() -> None:
    assert preview("", "no-such-file.json").exit_code == 2
    assert preview("", "--no-such-option").exit_code == 2
    assert preview("", "--help").exit_code == 0
