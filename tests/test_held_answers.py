"""Answers wait for their records to be stored, and no thread of the server waits with them."""

import fcntl
import http.client
import io
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import pytest
import requests
from flask import Response
from gunicorn.config import Config
from gunicorn.glogging import Logger

from app.door import not_taken
from app.gunicorn_worker import Handled, HoldingWorker, Waiting
from app.held import LARGEST, HeldAnswer, store
from app.log.base import SEGMENT_CALLS, LogUnavailable, NewRecord
from tests.bridge_process import Bridge, wait_for
from tests.builders import stored_ids, track

THREADS = 3


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    settings = {"BRIDGE_WEB_WORKERS": "1", "BRIDGE_WEB_THREADS": str(THREADS)}
    with Bridge(tmp_path_factory.mktemp("bridge"), settings) as running:
        running.start("serve")
        yield running


@contextmanager
def nobody_can_write(folder: Path) -> Iterator[None]:
    """Keep the lock that everybody takes who writes to the log."""
    with (folder / "bridge.db-locks" / "door").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def post(message_id: str, length: int | None = None) -> bytes:
    body = orjson.dumps(track(messageId=message_id))
    head = (
        "POST /v1/track HTTP/1.1\r\nHost: bridge\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode() + body


def connect(bridge: Bridge) -> socket.socket:
    return socket.create_connection(("127.0.0.1", bridge.port), timeout=20)


def read(connection: socket.socket) -> tuple[int, dict[str, object]]:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, orjson.loads(answer.read())


def test_more_answers_wait_than_there_are_threads(bridge: Bridge) -> None:
    ids = [f"waits-{number}" for number in range(5 * THREADS)]
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(bridge)) for _ in ids]
        with nobody_can_write(bridge.folder):
            for connection, message_id in zip(connections, ids, strict=True):
                connection.sendall(post(message_id))
            # The server still answers what needs no log.
            assert requests.get(f"{bridge.url}/health/live", timeout=10).ok
            # Time enough for patience to end.
            connections[0].settimeout(0.3)
            with pytest.raises(TimeoutError):
                connections[0].recv(1)
            assert not set(ids) & set(stored_ids(bridge.folder))
            connections[0].settimeout(20)
        for connection in connections:
            assert read(connection) == (200, {"success": True})
    assert sorted(stored_ids(bridge.folder)[-len(ids) :]) == sorted(ids)


def test_a_slow_sender_keeps_nobody_waiting(bridge: Bridge) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(bridge)) for _ in range(THREADS - 1)]
        for number, connection in enumerate(slow):
            connection.sendall(post(f"slow-{number}")[:-10])
        quick = stack.enter_context(connect(bridge))
        for number in range(20):
            start = time.monotonic()
            quick.sendall(post(f"quick-{number}"))
            assert read(quick)[0] == 200
            assert time.monotonic() - start < 2
        for number, connection in enumerate(slow):
            connection.sendall(post(f"slow-{number}")[-10:])
            assert read(connection)[0] == 200


def test_requests_sent_without_waiting_are_answered_one_after_the_other(bridge: Bridge) -> None:
    ids = [f"ahead-{number}" for number in range(50)]
    with connect(bridge) as connection:
        connection.sendall(b"".join(post(message_id) for message_id in ids))
        received = b""
        while received.count(b'{"success":true}') < len(ids):
            received += connection.recv(65536)
    assert received.count(b"HTTP/1.1 200 OK") == len(ids)
    assert [name for name in stored_ids(bridge.folder) if name in ids] == ids


def test_a_sender_that_is_gone_harms_nobody(bridge: Bridge) -> None:
    with nobody_can_write(bridge.folder):
        for number in range(10):
            with connect(bridge) as connection:
                connection.sendall(post(f"gone-{number}"))
    wait_for(lambda: "gone-9" in stored_ids(bridge.folder), "the calls are stored")
    with connect(bridge) as connection:
        connection.sendall(post("after-them"))
        assert read(connection)[0] == 200


class FakeSocket:
    def __init__(self) -> None:
        self.sent = b""

    def sendall(self, data: bytes) -> None:
        self.sent += data


class FakeLog:
    def __init__(self, error: Exception | None = None) -> None:
        self.topics: list[str] = []
        self._error = error

    def append(self, topic: str, _: list[NewRecord]) -> list[tuple[int, int]]:
        if self._error:
            raise self._error
        self.topics.append(topic)
        return [(0, 0)]


def held_answer() -> tuple[FakeSocket, HeldAnswer, FakeLog]:
    sock, log = FakeSocket(), FakeLog()
    return sock, HeldAnswer(sock), log


def leave(answer: HeldAnswer, log: FakeLog, value: bytes = b"{}") -> None:
    environ = {"gunicorn.socket": answer}
    store(environ, log, SEGMENT_CALLS, NewRecord("user", value, {}))  # type: ignore[arg-type]


def test_an_answer_is_collected_from_the_moment_a_record_is_left() -> None:
    sock, answer, log = held_answer()
    answer.sendall(b"before ")
    leave(answer, log)
    answer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    answer.sendall(b"{}")
    assert (sock.sent, log.topics) == (b"before ", [])
    assert answer.content(None) == b"HTTP/1.1 200 OK\r\n\r\n{}"


def test_a_large_record_is_stored_before_the_answer_is_made() -> None:
    _, answer, log = held_answer()
    leave(answer, log, b"x" * (LARGEST + 1))
    assert log.topics == [SEGMENT_CALLS]
    assert answer.left is None


def test_an_answer_whose_record_cannot_be_stored_becomes_a_503_with_its_cors_headers() -> None:
    _, answer, log = held_answer()
    leave(answer, log)
    answer.sendall(
        b"HTTP/1.0 200 OK\r\nServer: gunicorn\r\ncontent-length: 16\r\n"
        b"Content-Type: application/json\r\nAccess-Control-Allow-Origin: https://shop\r\n\r\n"
    )
    answer.sendall(b'{"success":true}')
    content = answer.content(not_taken(LogUnavailable("the disk is full")))
    head, _, body = content.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == "HTTP/1.0 503 SERVICE UNAVAILABLE"
    headers = http.client.parse_headers(io.BytesIO(("\r\n".join(lines) + "\r\n\r\n").encode()))
    assert dict(headers) == {
        "Server": "gunicorn",
        "Access-Control-Allow-Origin": "https://shop",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Retry-After": "5",
    }
    assert orjson.loads(body)["code"] == "log_unavailable"


def test_what_failed_before_anything_was_sent_stays_unsent() -> None:
    _, answer, log = held_answer()
    leave(answer, log)
    assert answer.content(Response(status=503)) == b""


@pytest.fixture
def worker() -> Iterator[HoldingWorker]:
    config = Config()
    made = HoldingWorker(1, os.getpid(), [], None, 30, config, Logger(config))
    made.method_queue.init()
    with ThreadPoolExecutor(1) as made.tpool:
        yield made
    made.method_queue.close()
    made.tmp.close()


def stored_by(worker: HoldingWorker, log: FakeLog, size: int) -> bytes:
    """What comes out of a connection, kept by gunicorn, when a held answer is stored and sent."""
    mine, theirs = socket.socketpair()
    with mine, theirs:
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        answer = HeldAnswer(mine)
        leave(answer, log)
        answer.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * size)
        assert answer.left
        worker._storing = 1
        worker._store([Waiting(answer, answer.left, mine, Handled(True))])
        received = theirs.recv(65536)
        while len(received) < size:
            received += theirs.recv(65536)
        finished = []
        worker.finish_request = lambda conn, handled: finished.append((conn, handled.result()))
        wait_for(lambda: worker.method_queue.run_callbacks(None) or finished, "it is finished", 5)
        assert finished == [(mine, True)]
    return received


def test_a_sender_that_reads_its_answer_slowly_keeps_nobody_waiting(worker: HoldingWorker) -> None:
    received = stored_by(worker, FakeLog(), 1_000_000)
    assert received == b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000


def test_a_defect_while_storing_asks_the_sender_to_come_again(worker: HoldingWorker) -> None:
    received = stored_by(worker, FakeLog(ZeroDivisionError("a defect")), 0)
    assert received.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"internal_error"' in received
