"""The doors behind gunicorn, over real sockets: what Flask's test client cannot show."""

import gzip
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests

from tests.bridge_process import Bridge, wait_for
from tests.builders import WRITE_KEY, basic, stored_ids, track

LIMIT = 20_000


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    settings = {
        "BRIDGE_WRITE_KEY": WRITE_KEY,
        "BRIDGE_MAX_BODY": str(LIMIT),
        "BRIDGE_WEB_WORKERS": "1",
        "BRIDGE_WEB_THREADS": "4",
    }
    with Bridge(tmp_path_factory.mktemp("bridge"), settings) as running:
        running.start("serve")
        yield running


def call(message_id: str, **fields: Any) -> bytes:
    return orjson.dumps(track(messageId=message_id, **fields))


class Wire:
    """One connection, and every byte that is sent over it."""

    def __init__(self, bridge: Bridge) -> None:
        self.socket = socket.create_connection(("127.0.0.1", bridge.port), timeout=20)
        self._received = b""

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def head(self, path: str = "/v1/track", **headers: str) -> bytes:
        """The head of an authenticated POST."""
        every = {"Host": "bridge", "Content-Type": "application/json", **basic(WRITE_KEY)}
        every |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in every.items())]
        return "\r\n".join([*lines, "", ""]).encode()

    def read(self) -> tuple[int, dict[str, Any]]:
        """Status and body of the next answer."""
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, rest = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        self._received = rest
        while len(self._received) < length:
            self._more()
        body, self._received = self._received[:length], self._received[length:]
        return int(head.split()[1]), orjson.loads(body)

    def _more(self) -> None:
        data = self.socket.recv(65536)
        assert data, "the connection was closed"
        self._received += data


@contextmanager
def wire(bridge: Bridge) -> Iterator[Wire]:
    found = Wire(bridge)
    with found.socket:
        yield found


def chunks(parts: Sequence[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("zipped", [False, True])
def test_a_chunked_body_is_taken(bridge: Bridge, zipped: bool) -> None:
    message_id = f"chunked-{zipped}"
    body = call(message_id)
    headers = {**basic(WRITE_KEY), "Content-Type": "text/plain"}
    if zipped:
        body, headers = gzip.compress(body), {**headers, "Content-Encoding": "gzip"}
    answer = requests.post(
        f"{bridge.url}/v1/t", data=iter([body[:10], body[10:]]), headers=headers, timeout=20
    )
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert message_id in stored_ids(bridge.folder)


def test_one_connection_serves_many_requests_whatever_their_answers(bridge: Bridge) -> None:
    good = call("kept-alive")
    refused: list[tuple[str, bytes, int]] = [
        ("/v1/track", b"{", 400),
        ("/nowhere", good, 404),
        ("/v1/m", b'{"series":[]}', 200),
        ("/segment", b"{}", 400),
        ("/v1/track", good, 200),
    ]
    with wire(bridge) as connection:
        for path, body, status in refused * 2:
            connection.send(connection.head(path, Content_Length=str(len(body))), body)
            assert connection.read()[0] == status


def test_a_declared_length_over_the_limit_is_refused_before_the_body_is_sent(
    bridge: Bridge,
) -> None:
    with wire(bridge) as connection:
        connection.send(connection.head(Content_Length=str(LIMIT + 1)))
        status, answer = connection.read()
        assert (status, answer["code"]) == (413, "request_entity_too_large")


@pytest.mark.parametrize("zipped", [False, True])
def test_a_chunked_body_over_the_limit_is_refused_while_it_comes(
    bridge: Bridge, zipped: bool
) -> None:
    before = len(stored_ids(bridge.folder))
    body = call("too-large", properties={"text": "x" * LIMIT})
    encoding = {}
    if zipped:
        body, encoding = gzip.compress(body), {"Content_Encoding": "gzip"}
    with wire(bridge) as connection:
        connection.send(
            connection.head(Transfer_Encoding="chunked", **encoding),
            chunks([body[start : start + 1000] for start in range(0, len(body), 1000)]),
        )
        assert connection.read()[0] == 413
    assert len(stored_ids(bridge.folder)) == before


def test_a_chunked_body_of_exactly_the_limit_is_taken_and_is_not_cut_off(bridge: Bridge) -> None:
    body = call("just-fits")
    body += b" " * (LIMIT - len(body))
    with wire(bridge) as connection:
        for sent, status in ((body, 200), (body + b" ", 413)):
            connection.send(connection.head(Transfer_Encoding="chunked"), chunks([sent]))
            assert connection.read()[0] == status


def test_a_body_that_is_cut_off_is_not_stored(bridge: Bridge) -> None:
    before = len(stored_ids(bridge.folder))
    body = call("cut-off")
    for head, sent in (
        ({"Content_Length": str(len(body))}, body[:-1]),
        ({"Transfer_Encoding": "chunked"}, b"%x\r\n%b" % (len(body), body[:-1])),
    ):
        with wire(bridge) as connection:
            connection.send(connection.head(**head), sent)
            connection.socket.shutdown(socket.SHUT_WR)
            assert b" 200 " not in connection.socket.recv(65536)[:20]
    assert len(stored_ids(bridge.folder)) == before


def test_a_sender_may_ask_before_it_sends_the_body(bridge: Bridge) -> None:
    body = call("expected")
    with wire(bridge) as connection:
        connection.send(connection.head(Content_Length=str(len(body)), Expect="100-continue"))
        assert connection.socket.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.send(body)
        assert connection.read() == (200, {"success": True})


def test_a_slow_sender_holds_up_nobody(bridge: Bridge) -> None:
    body = call("slow")
    with wire(bridge) as slow:
        slow.send(slow.head(Content_Length=str(len(body))), body[:5])
        for number in range(8):
            answer = requests.post(
                f"{bridge.url}/v1/track",
                data=call(f"quick-{number}"),
                headers={**basic(WRITE_KEY), "Content-Type": "application/json"},
                timeout=5,
            )
            assert answer.status_code == 200
        slow.send(body[5:])
        assert slow.read()[0] == 200


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    with Bridge(tmp_path, {"BRIDGE_WEB_WORKERS": "1"}) as bridge:
        bridge.start("serve")
        for number in range(20):
            assert bridge.post("/segment", track(messageId=f"m{number}")).status_code == 200
        bridge.kill("serve")
    assert sorted(stored_ids(tmp_path)) == sorted(f"m{number}" for number in range(20))


def test_a_request_under_way_is_answered_when_the_server_is_told_to_end(tmp_path: Path) -> None:
    with Bridge(tmp_path, {"BRIDGE_WEB_WORKERS": "1"}) as bridge:
        bridge.start("serve")
        body = call("last")
        with wire(bridge) as connection:
            head = connection.head(Content_Length=str(len(body)), Expect="100-continue")
            connection.send(head, body[:5])
            # The worker has it in hand; what still waits in the backlog is not under way.
            assert b"100 Continue" in connection.socket.recv(100)
            process = bridge.processes["serve"]
            process.terminate()
            told = tmp_path / "serve.log"
            wait_for(lambda: b"Handling signal: term" in told.read_bytes(), "it is told to end")
            connection.send(body[5:])
            assert connection.read() == (200, {"success": True})
        assert bridge.stop("serve") == 0
    assert stored_ids(tmp_path) == ["last"]
