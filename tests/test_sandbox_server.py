"""The stand-ins' server: HTTP over real sockets, what it shows, and how it starts and ends."""

import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from app.sandbox import journal, ledger
from app.sandbox.iterable_fields import MAX_FIELDS, FieldTypes
from app.sandbox.iterable_people import Identity, People, Profile
from app.sandbox.journal import Entry, Journal
from app.sandbox.ledger import Ledger
from app.sandbox.page import render
from app.sandbox.wire import BadRequest, Parser
from tests.sandbox_process import SEGMENT, Sandbox, running_sandbox


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def read_answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of one answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head, body


def track_request(id: str, extra: str = "") -> bytes:
    body = f'{{"userId":"u1","eventName":"e","id":"{id}"}}'.encode()
    head = "POST /api/events/track HTTP/1.1\r\nHost: x\r\nApi-Key: k\r\n"
    return f"{head}{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body


# --- HTTP -----------------------------------------------------------------------------------------


def test_answers_pipelined_requests_in_their_order(sandbox):
    with connect(sandbox.iterable) as connection:
        connection.sendall(track_request("first") + track_request("second"))
        data = b""
        while data.count(b"tracked.") < 2:
            data += connection.recv(65536)

    assert data.index(b"id: first") < data.index(b"id: second")


def test_pipelined_requests_wait_for_a_slow_one(sandbox):
    sandbox.fail(latency=100, match="first")
    with connect(sandbox.iterable) as connection:
        connection.sendall(track_request("first") + track_request("second"))
        data = b""
        while data.count(b"tracked.") < 2:
            data += connection.recv(65536)

    assert data.index(b"id: first") < data.index(b"id: second")


def test_takes_a_body_in_chunks_with_trailers_byte_by_byte(sandbox):
    head = b"POST /api/events/track HTTP/1.1\r\nApi-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = (b'{"userId":"u1","event', b'Name":"e","id":"c-1"', b"}")
    chunks = b"".join(b"%x;x=y\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    with connect(sandbox.iterable) as connection:
        for byte in head + chunks + b"0\r\nX-Sum: 1\r\n\r\n":
            connection.send(bytes([byte]))
        assert b"id: c-1" in read_answer(connection)[1]
        connection.sendall(track_request("next"))
        assert b"id: next" in read_answer(connection)[1]


def test_a_chunked_body_is_whole_only_with_its_last_byte():
    parser = Parser()
    content = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    for byte in content[:-1]:
        parser.feed(bytes([byte]))
        assert parser.take() is None
    parser.feed(content[-1:])
    request = parser.take()

    assert request is not None
    assert request.body == b"ab"


def test_invites_the_body_when_asked(sandbox):
    head, body = track_request("m", "Expect: 100-continue\r\n").split(b"\r\n\r\n")
    with connect(sandbox.iterable) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert b"id: m" in read_answer(connection)[1]


@pytest.mark.parametrize(
    ("version", "header", "closes"),
    [
        ("1.1", "", False),
        ("1.1", "Connection: close\r\n", True),
        ("1.0", "", True),
        ("1.0", "Connection: keep-alive\r\n", False),
    ],
)
def test_keeps_a_connection_as_http_says(sandbox, version, header, closes):
    request = f"GET /api/lists HTTP/{version}\r\nApi-Key: k\r\n{header}\r\n".encode()
    with connect(sandbox.iterable) as connection:
        connection.sendall(request)
        head, _ = read_answer(connection)
        assert (b"Connection: close" in head) is closes
        connection.settimeout(10 if closes else 0.05)
        if closes:
            assert connection.recv(1) == b""
        else:
            with pytest.raises(TimeoutError):
                connection.recv(1)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", b"400"),
        (b"GET / SPDY/3\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", b"413"),
        (b"x" * 70_000, b"431"),
    ],
)
def test_ends_a_connection_that_does_not_speak_http(sandbox, data, status):
    with connect(sandbox.iterable) as connection:
        connection.sendall(data)
        head, _ = read_answer(connection)
        assert head.split(b" ")[1] == status
        assert connection.recv(1) == b""


def test_a_request_is_whole_only_with_its_last_byte():
    parser = Parser()
    content = track_request("m")
    for byte in content[:-1]:
        parser.feed(bytes([byte]))
        assert parser.take() is None
    parser.feed(content[-1:])
    request = parser.take()

    assert request is not None
    assert (request.method, request.path) == ("POST", "/api/events/track")
    parser.feed(b"x" * 70_000)
    with pytest.raises(BadRequest):
        parser.take()


# --- many at once ---------------------------------------------------------------------------------


def test_keeps_hundreds_of_connections_alive(sandbox):
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(sandbox.iterable)) for _ in range(600)]
        for _ in range(2):
            for number, connection in enumerate(connections):
                connection.sendall(track_request(f"e-{number}"))
            for connection in connections:
                assert read_answer(connection)[0].startswith(b"HTTP/1.1 200")

    totals = sandbox.shown()["totals"]
    assert (totals["events"], totals["event_updates"]) == (600, 600)


def test_counts_exactly_under_concurrency(sandbox):
    def run(worker: int) -> None:
        with connect(sandbox.iterable) as connection:
            for number in range(250):
                connection.sendall(track_request(f"{worker}-{number}"))
                read_answer(connection)

    workers = [threading.Thread(target=run, args=(worker,)) for worker in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    shown = sandbox.shown(limit=0)
    entries = sandbox.received()
    per_second = shown["per_second"]["/api/events/track"]
    busiest = shown["busiest"]["/api/events/track"]
    assert shown["counts"] == {"/api/events/track": 2000}
    assert shown["totals"]["events"] == 2000
    assert [entry["number"] for entry in entries] == list(range(1, 2001))
    assert sum(per_second.values()) == 2000
    assert busiest["second"] == max(per_second.values())
    assert busiest["sliding_second"] == most_in_a_second([entry["at"] for entry in entries])


def most_in_a_second(times: list[float]) -> int:
    most, start = 0, 0
    for end, at in enumerate(times):
        while times[start] <= at - 1:
            start += 1
        most = max(most, end - start + 1)
    return most


# --- what it shows --------------------------------------------------------------------------------


def send_events(sandbox: Sandbox, count: int) -> None:
    with connect(sandbox.iterable) as connection:
        for number in range(count):
            connection.sendall(track_request(f"e-{number}"))
            read_answer(connection)


def test_shows_the_newest_requests_and_pages_through_all(sandbox):
    send_events(sandbox, 120)
    base = sandbox.iterable

    def numbers(path: str) -> list[int]:
        entries = requests.get(base + path, timeout=10).json()["requests"]
        return [entry["number"] for entry in entries]

    assert numbers("/") == list(range(71, 121))
    assert numbers("/?limit=5") == [116, 117, 118, 119, 120]
    assert numbers("/?since=10&limit=3") == [11, 12, 13]
    assert numbers("/journal?after=118") == [119, 120]
    assert numbers("/journal?limit=2") == [1, 2]
    assert numbers("/?since=500") == []


def test_an_entry_tells_all_about_a_request(sandbox):
    send_events(sandbox, 1)
    entry = sandbox.received()[0]

    assert abs(entry.pop("at") - sandbox.shown()["events"][0]["first_at"]) < 1e-6
    assert entry == {
        "number": 1,
        "method": "POST",
        "path": "/api/events/track",
        "key": "any",
        "body": {"userId": "u1", "eventName": "e", "id": "e-0"},
        "status": 200,
    }


def test_received_pages_through_all(sandbox, monkeypatch):
    monkeypatch.setattr("tests.sandbox_process.PAGE", 7)
    send_events(sandbox, 20)

    assert [entry["number"] for entry in sandbox.received()] == list(range(1, 21))
    assert [entry["number"] for entry in sandbox.received(after=18)] == [19, 20]


def test_the_journal_can_be_kept_short(sandbox):
    sandbox.tell("/journal", {"keep": 3})
    send_events(sandbox, 10)

    assert [entry["number"] for entry in sandbox.received()] == [8, 9, 10]
    assert [entry["number"] for entry in sandbox.received(after=9)] == [10]
    assert sandbox.shown()["counts"] == {"/api/events/track": 10}


def test_shows_a_page_to_a_browser_and_escapes_what_came(sandbox):
    url = f"{sandbox.iterable}/api/users/update"
    body = {"email": "a@example.com", "dataFields": {"x": "<script>alert(1)</script>"}}
    requests.post(url, json=body, headers={"Api-Key": "k"}, timeout=10)
    requests.post(url, data=b"<no json>", headers={"Api-Key": "k"}, timeout=10)
    answer = requests.get(sandbox.iterable, headers={"Accept": "text/html,*/*"}, timeout=10)

    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "a@example.com" in answer.text
    assert "&lt;no json&gt;" in answer.text
    assert "<script>" not in answer.text


def test_shows_json_that_can_be_read_to_everybody_else(sandbox):
    assert requests.get(sandbox.iterable, timeout=10).text.startswith('{\n  "requests": []')


def test_a_page_can_show_a_plain_value():
    assert b"<p>5</p>" in render("x", {"number": 5})


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("PUT", "/", b"", 405),
        ("GET", "/reset", b"", 405),
        ("POST", "/faults", b"{", 400),
        ("GET", "/?limit=many", b"", 400),
        ("GET", "/journal?limit=-1", b"", 400),
    ],
)
def test_explains_a_wrong_use_of_its_own_addresses(sandbox, method, path, content, status):
    answer = requests.request(method, sandbox.iterable + path, data=content, timeout=10)

    assert answer.status_code == status
    assert answer.json()["errors"]


def test_reset_forgets_everything(sandbox):
    send_events(sandbox, 3)
    sandbox.fail(status=500)
    sandbox.tell("/keys", {"*": "revoked"})
    sandbox.tell("/keys", {"*": "revoked"}, SEGMENT)
    sandbox.tell("/project", {"type": "userid"})
    sandbox.reset()

    assert sandbox.received() == []
    assert sandbox.shown()["totals"]["events"] == 0
    answer = requests.post(
        f"{sandbox.iterable}/api/users/update",
        json={"email": "a@example.com"},
        headers={"Api-Key": "k"},
        timeout=10,
    )
    assert answer.status_code == 200


# --- bounds ---------------------------------------------------------------------------------------


def test_the_journal_is_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(journal, "KEEP_BYTES", 100)
    kept = Journal()
    for _ in range(10):
        kept.add("/x", Entry(1.0, "POST", "/x", b"x" * 30, "any", 200, None))

    assert [entry["number"] for entry in kept.after(0, 100)] == [8, 9, 10]


def test_a_ledger_and_the_people_are_bounded(monkeypatch):
    monkeypatch.setattr(ledger, "KEEP", 2)
    monkeypatch.setattr("app.sandbox.iterable_people.KEEP", 2)
    kept, people = Ledger(), People()
    for number in range(4):
        kept.enter(str(number), {"n": number}, 1.0, update=True)
        people.settle(Profile(), Identity(None, f"u{number}"), Identity(None, None))

    assert kept.total == 4
    assert [thing["n"] for thing in kept.newest(10)] == [2, 3]
    assert [profile.user_id for profile in people.newest(10)] == ["u2", "u3"]
    assert people.find(Identity(None, "u0")) is None


def test_field_types_are_bounded():
    types = FieldTypes()
    created = types.pin("user", {str(number): 1 for number in range(MAX_FIELDS + 5)})

    assert len(created) == MAX_FIELDS


# --- starting and ending --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_at_a_signal_even_while_requests_hang(number):
    with running_sandbox() as sandbox, connect(sandbox.iterable) as connection:
        sandbox.fail(hang=True)
        connection.sendall(track_request("m"))
        while not sandbox.received():
            pass
        sandbox.process.send_signal(number)

        assert sandbox.process.wait(timeout=20) == 0
        assert connection.recv(1) == b""


def test_says_when_a_port_is_taken():
    root = Path(__file__).parent.parent
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "tests.sandbox_process", "0", port]
        ended = subprocess.run(
            command, cwd=root, capture_output=True, text=True, timeout=30, check=False
        )

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "address already in use" in ended.stderr


def test_the_helper_says_when_the_sandbox_does_not_start():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(RuntimeError, match="did not start"),
        running_sandbox(iterable_port=taken.getsockname()[1]),
    ):
        pass
