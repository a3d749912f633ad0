"""An Iterable that answers as a test tells it, and calls to send to it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from app.log.base import SEGMENT_CALLS, Record
from app.outbound.iterable import IterableDestination
from app.outcomes import Dead, Discarded, Outcome, Step
from app.settings import Settings

KEY = "secret-server-key"
OK = (200, b'{"msg":"","code":"Success","params":null}')


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class FakeIterable:
    """Answers with what `answers` hold, then with success; keeps what it received."""

    url: str = ""
    answers: list[tuple[int, bytes] | Callable[[Received], tuple[int, bytes]]] = field(
        default_factory=list
    )
    headers: dict[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    connections: int = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fake: FakeIterable

    def setup(self) -> None:
        super().setup()
        self.fake.connections += 1

    def answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = orjson.loads(content) if content else None
        request = Received(self.command, self.path, dict(self.headers), body)
        self.fake.received.append(request)
        told = self.fake.answers.pop(0) if self.fake.answers else OK
        status, text = told(request) if callable(told) else told
        if status == 0:  # cut the connection
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in self.fake.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def running_iterable() -> Iterator[FakeIterable]:
    """The server on a free port; ended on leaving."""
    fake = FakeIterable()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Told", (Handler,), {"fake": fake}))
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def settings(url: str, **more: Any) -> Settings:
    return Settings(
        iterable_api_key=KEY,
        iterable_mobile_api_key="secret-mobile-key",
        iterable_base_url=url,
        **{"iterable_timeout": 5.0, **more},
    )


def record(call: Any, topic: str = SEGMENT_CALLS, **headers: str) -> Record:
    value = call if isinstance(call, bytes) else orjson.dumps(call)
    return Record(topic, 0, 7, "u1", value, headers, 1_700_000_000.0)


def identify(number: int, **traits: Any) -> dict[str, Any]:
    return {
        "type": "identify",
        "messageId": f"m{number}",
        "userId": f"u{number}",
        "timestamp": "2024-03-01T09:30:00Z",
        "traits": {"email": f"p{number}@example.com", **traits},
    }


def steps(destination: IterableDestination, *calls: dict[str, Any]) -> list[Step]:
    found: list[Step] = []
    for call in calls:
        prepared = destination.prepare(record(call))
        assert not isinstance(prepared, Discarded | Dead)
        found += prepared
    return found


def deliver(
    destination: IterableDestination, endpoint: str, *calls: dict[str, Any]
) -> list[Outcome]:
    return destination.deliver(endpoint, steps(destination, *calls))
