"""The stand-in Segment takes Tracking API calls as Segment's documents say."""

import gzip
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import requests
from segment.analytics.client import Client

from tests.sandbox_process import SEGMENT


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.auth = ("write-key", "")
        yield session


def track(id: str = "m1", **more: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Push Opened", "userId": "u1", "messageId": id, **more}


def test_takes_a_batch_and_shows_its_events(sandbox, session):
    batch = [track("m1"), {"type": "identify", "anonymousId": "a", "messageId": "m2"}]
    answer = session.post(f"{sandbox.segment}/v1/batch", json={"batch": batch}, timeout=10)

    assert (answer.status_code, answer.json()) == (200, {"success": True})
    shown = sandbox.shown(SEGMENT)
    assert [event["messageId"] for event in shown["events"]] == ["m1", "m2"]
    assert shown["events"][0]["event"] == "Push Opened"
    assert shown["events"][0]["receivedAt"].endswith("+00:00")
    assert shown["counts"] == {"/v1/batch": 1}


@pytest.mark.parametrize("path", ["/v1/batch/", "/v1/import"])
def test_takes_a_trailing_slash_and_imports(sandbox, session, path):
    body = {"batch": [track()]}

    assert session.post(sandbox.segment + path, json=body, timeout=10).status_code == 200
    assert sandbox.shown(SEGMENT)["totals"]["events"] == 1


@pytest.mark.parametrize("kind", ["identify", "track", "page", "screen", "alias", "group"])
def test_takes_single_calls(sandbox, session, kind):
    body = {"userId": "u1", "event": "e", "messageId": "m"}
    answer = session.post(f"{sandbox.segment}/v1/{kind}", json=body, timeout=10)

    assert answer.status_code == 200
    assert sandbox.events()[0]["type"] == kind


def test_counts_repeats_of_a_message_and_keeps_the_first(sandbox, session):
    for name in ("first", "second", "third"):
        body = {"batch": [track("m1", event=name), track(f"only-{name}")]}
        session.post(f"{sandbox.segment}/v1/batch", json=body, timeout=10)

    shown = sandbox.shown(SEGMENT)
    assert shown["totals"] == {"events": 4, "repeats": 2}
    assert shown["repeats"] == {"m1": 2}
    assert shown["events"][0]["event"] == "first"


@pytest.mark.parametrize(
    ("headers", "in_body", "status"),
    [
        ({}, {}, 401),
        ({}, {"writeKey": "k"}, 200),
        ({"Authorization": "Bearer token"}, {"writeKey": "k"}, 200),
        ({"Authorization": "Bearer token"}, {}, 401),
        ({"Authorization": "Basic %%%"}, {}, 401),
        ({"Authorization": "Basic azo="}, {}, 200),
        ({}, {"writeKey": "revoked-key"}, 401),
    ],
)
def test_finds_the_write_key_in_the_header_or_the_body(sandbox, headers, in_body, status):
    sandbox.tell("/keys", {"revoked-key": "revoked"}, SEGMENT)
    body = {"batch": [track()], **in_body}
    answer = requests.post(f"{sandbox.segment}/v1/batch", json=body, headers=headers, timeout=10)

    assert answer.status_code == status
    if status == 401:
        assert set(answer.json()) == {"code", "message"}


def test_never_shows_a_write_key(sandbox):
    body = {"batch": [track(writeKey="top-secret")], "writeKey": "top-secret"}
    requests.post(f"{sandbox.segment}/v1/batch", json=body, timeout=10)
    requests.post(f"{sandbox.segment}/v1/track", json=track(writeKey="top-secret"), timeout=10)

    shown = sandbox.shown(SEGMENT)
    assert [entry["key"] for entry in shown["requests"]] == ["body", "body"]
    assert "top-secret" not in str(shown)


def test_takes_compressed_bodies_and_refuses_broken_ones(sandbox, session):
    url, headers = f"{sandbox.segment}/v1/batch", {"Content-Encoding": "gzip"}
    content = gzip.compress(json.dumps({"batch": [track()]}).encode())

    assert session.post(url, content, headers=headers, timeout=10).status_code == 200
    for broken in (content[:-9], b"plain", content[:12] + b"\xff\xff" + content[14:]):
        assert session.post(url, broken, headers=headers, timeout=10).status_code == 400
    assert sandbox.shown(SEGMENT)["requests"][0]["body"] == {"batch": [track()]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("batch", b"{"),
        ("batch", b'{"batch": [{"type": "track", "properties": {"n": NaN}}]}'),
        ("batch", b"[]"),
        ("batch", b'{"batch": {}}'),
        ("batch", b'{"batch": [1]}'),
        ("track", json.dumps(track(text="x" * 33_000)).encode()),
        ("batch", json.dumps({"batch": [track(), track(text="x" * 33_000)]}).encode()),
        ("batch", json.dumps({"batch": [track(text="x" * 30_000)] * 18}).encode()),
    ],
)
def test_answers_400_with_code_and_message(sandbox, session, path, body):
    answer = session.post(f"{sandbox.segment}/v1/{path}", body, timeout=10)

    assert answer.status_code == 400
    assert set(answer.json()) == {"code", "message"}
    assert sandbox.shown(SEGMENT)["totals"]["events"] == 0


def test_takes_a_large_batch_of_small_messages(sandbox, session):
    body = {"batch": [track(f"m{number}", text="x" * 30_000) for number in range(16)]}
    answer = session.post(f"{sandbox.segment}/v1/batch", json=body, timeout=10)

    assert answer.status_code == 200
    assert sandbox.shown(SEGMENT)["totals"]["events"] == 16


def test_answers_200_to_what_it_then_rejects(sandbox, session):
    batch = [
        {"type": "track", "event": "e", "messageId": "nobody"},
        {"type": "track", "userId": "u", "messageId": "nameless"},
        {"type": "delete", "userId": "u", "messageId": "unknown"},
    ]
    url = f"{sandbox.segment}/v1/batch"
    assert session.post(url, json={"batch": batch}, timeout=10).status_code == 200

    shown = sandbox.shown(SEGMENT)
    assert shown["totals"]["events"] == 0
    assert {entry["messageId"]: entry["reason"] for entry in shown["rejected"]} == {
        "nobody": "no_user_anon_id",
        "nameless": "no_event",
        "unknown": "unknown_type",
    }


def test_rejects_a_batch_of_more_than_2500_events_with_200(sandbox, session):
    batch = [{"type": "track", "event": "e", "userId": "u"}] * 2501
    answer = session.post(f"{sandbox.segment}/v1/batch", json={"batch": batch}, timeout=10)

    assert answer.status_code == 200
    assert sandbox.shown(SEGMENT)["totals"]["events"] == 0
    assert sandbox.shown(SEGMENT)["rejected"][0]["reason"] == "too_many_events"


def test_gives_a_message_without_an_id_one(sandbox, session):
    body = {"userId": "u1", "event": "e"}
    session.post(f"{sandbox.segment}/v1/track", json=body, timeout=10)

    assert len(sandbox.events()[0]["messageId"]) == 36


def test_unknown_addresses_and_methods_answer_404(sandbox, session):
    assert session.post(f"{sandbox.segment}/v1/other", json={}, timeout=10).status_code == 404
    assert session.get(f"{sandbox.segment}/v1/track", timeout=10).status_code == 404


def test_takes_what_analytics_python_sends(sandbox):
    failures: list[Exception] = []
    client = Client(
        "write-key",
        host=sandbox.segment,
        gzip=True,
        on_error=lambda error, _: failures.append(error),
    )
    for number in range(250):
        client.track("u1", "Email Opened", {"n": number}, message_id=f"id-{number}")
    client.flush()
    client.join()

    assert failures == []
    assert [event["messageId"] for event in sandbox.events()] == [f"id-{n}" for n in range(250)]


def test_a_failure_has_the_form_that_analytics_python_understands(sandbox):
    sandbox.fail(status=400, partner=SEGMENT)
    failures: list[Any] = []
    client = Client(
        "write-key", host=sandbox.segment, on_error=lambda error, _: failures.append(error)
    )
    client.track("u1", "e")
    client.flush()
    client.join()

    assert (failures[0].status, failures[0].code) == (400, "invalid_request")


class Receiver(HTTPServer):
    """Keeps the bodies and signatures that are posted to it; answers the second with 500."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ReceiverHandler)
        self.posted: list[tuple[bytes, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/segment"


class ReceiverHandler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((body, self.headers["X-Signature"]))
        self.send_response(500 if len(self.server.posted) == 2 else 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Tests are quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_forwards_each_event_once_and_signed(sandbox, session, receiver):
    sandbox.tell("/forward", {"url": receiver.url, "secret": "s3cret"}, SEGMENT)
    body = {"batch": [track("m1", text="ü"), track("m1"), track("m2"), track("m3")]}
    session.post(f"{sandbox.segment}/v1/batch", json=body, timeout=10)
    wait_until(lambda: sandbox.shown(SEGMENT)["forwarded"] == {"200": 2, "500": 1})

    bodies = [json.loads(content) for content, _ in receiver.posted]
    assert [event["messageId"] for event in bodies] == ["m1", "m2", "m3"]
    for content, signature in receiver.posted:
        assert signature == hmac.new(b"s3cret", content, hashlib.sha1).hexdigest()


def test_forwards_unsigned_without_a_secret_and_counts_what_nobody_took(sandbox, session, receiver):
    url = f"{sandbox.segment}/v1/track"
    sandbox.tell("/forward", {"url": receiver.url}, SEGMENT)
    session.post(url, json=track("m1"), timeout=10)
    wait_until(lambda: len(receiver.posted) == 1)
    assert receiver.posted[0][1] is None

    sandbox.tell("/forward", {"url": "http://127.0.0.1:9/"}, SEGMENT)
    session.post(url, json=track("m2"), timeout=10)
    wait_until(lambda: sandbox.shown(SEGMENT)["forwarded"] == {"failed": 1})


def test_refuses_to_forward_to_what_is_no_url(sandbox, session):
    answer = session.post(f"{sandbox.segment}/forward", json={"url": "nowhere"}, timeout=10)

    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["url"])
