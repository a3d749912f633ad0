"""A load generator that costs little: raw sockets kept alive, in a process of its own."""

import multiprocessing
import re
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import cast

import orjson


@dataclass(frozen=True)
class Load:
    """What was reached: answers, seconds, and each answer's latency in seconds (sorted)."""

    answers: int
    seconds: float
    latencies: list[float]
    failures: int

    @property
    def rate(self) -> float:
        return self.answers / self.seconds

    def percentile(self, share: float) -> float:
        """The latency in milliseconds that `share` of the answers stayed under."""
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))] * 1000


def request(port: int, path: str, body: object) -> bytes:
    """A POST as it goes over the wire."""
    content = orjson.dumps(body)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def press(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
    """Send `requests` in turn over `connections` as fast as answers come, for `seconds`."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_press, (port, requests, connections, seconds))


def _press(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
    press = _Press(port, requests)
    for _ in range(connections):
        press.connect()
    start = time.perf_counter()
    while time.perf_counter() < start + seconds:
        press.turn()
    took = time.perf_counter() - start
    press.close()
    return Load(len(press.latencies), took, sorted(press.latencies), press.failures)


class _Press:
    """Keeps a request under way on every connection."""

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        self.latencies: list[float] = []
        self.failures = 0
        self._port = port
        self._supply = cycle(requests)
        self._selector = selectors.DefaultSelector()
        self._sent_at: dict[socket.socket, float] = {}
        self._received: dict[socket.socket, bytes] = {}

    def connect(self) -> None:
        connection = socket.create_connection(("127.0.0.1", self._port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection, selectors.EVENT_READ)
        self._send(connection)

    def turn(self) -> None:
        for key, _ in self._selector.select(0.5):
            self._receive(cast(socket.socket, key.fileobj))

    def close(self) -> None:
        for connection in list(self._sent_at):
            self._drop(connection)
        self._selector.close()

    def _send(self, connection: socket.socket) -> None:
        self._received[connection] = b""
        self._sent_at[connection] = time.perf_counter()
        connection.sendall(next(self._supply))

    def _receive(self, connection: socket.socket) -> None:
        answer = self._received[connection] + connection.recv(65536)
        if not _is_whole(answer):
            self._received[connection] = answer
            return
        self.latencies.append(time.perf_counter() - self._sent_at[connection])
        self.failures += not answer.startswith(b"HTTP/1.1 200")
        if b"\r\nConnection: close\r\n" in answer:
            self._drop(connection)
            self.connect()
        else:
            self._send(connection)

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()
        del self._sent_at[connection], self._received[connection]


def _is_whole(answer: bytes) -> bool:
    """gunicorn sends the head and the body of an answer one after the other."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return bool(end) and len(body) >= int(length[1] if length else 0)
