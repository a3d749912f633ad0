"""A small Segment that answers as it is told, and what the tests of delivery to it share."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from app.inbound.message import SegmentMessage
from app.inbound.segment import SegmentDestination
from app.log.base import ITERABLE_WEBHOOKS, Record
from app.outcomes import Dead, Discarded, Outcome
from app.settings import Settings

Reply = tuple[int, dict[str, str], bytes]
OK: Reply = (200, {}, b'{"success": true}')


@dataclass
class Segment:
    """A stand-in: keeps every batch it accepted, and answers as `reply` says.

    `reply` gets the request's messages; an answer of None cuts the connection.
    """

    url: str = ""
    reply: Callable[[list[dict[str, Any]]], Reply | None] = lambda _: OK
    requests: list[list[dict[str, Any]]] = field(default_factory=list)
    accepted: list[dict[str, Any]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    segment: Segment

    def handle_error(self, *_: Any) -> None:
        """Clients that went away are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_POST(self) -> None:
        segment = self.server.segment
        segment.methods.append("POST")
        batch = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))["batch"]
        segment.requests.append(batch)
        reply = segment.reply(batch)
        if reply is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if reply[0] == 200:
            segment.accepted += batch
        self.answer(*reply)

    def do_GET(self) -> None:
        self.server.segment.methods.append("GET")
        self.answer(*OK)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """The tests' output is theirs."""


@contextmanager
def serving() -> Iterator[Segment]:
    """A running stand-in."""
    server = Server(("127.0.0.1", 0), Handler)
    server.segment = Segment(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.segment
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def delivering_to(url: str, **options: Any) -> Iterator[SegmentDestination]:
    settings = Settings(segment_write_key="made-up-key", segment_host=url)
    made = SegmentDestination(settings, **options)
    yield made
    made.close()


def record(webhook: Any, headers: dict[str, str] | None = None) -> Record:
    value = webhook if isinstance(webhook, bytes | None) else orjson.dumps(webhook)
    return Record(ITERABLE_WEBHOOKS, 0, 0, "u", value, headers or {}, 1_700_000_000.0)


def steps(
    destination: SegmentDestination, count: int, start: int = 0, **fields: Any
) -> list[SegmentMessage]:
    made: list[Any] = []
    for number in range(start, start + count):
        webhook = {"eventName": "pushOpen", "userId": f"u{number}", "dataFields": fields}
        prepared = destination.prepare(record(webhook))
        assert not isinstance(prepared, Discarded | Dead)
        made += prepared
    return made


def deliver(destination: SegmentDestination, messages: list[SegmentMessage]) -> list[Outcome]:
    return destination.deliver("batch", messages)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
