"""A load generator that costs little: raw sockets kept alive, in a process of its own."""

import multiprocessing
import re
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

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
    selector = selectors.DefaultSelector()
    supply = cycle(requests)
    sent_at: dict[socket.socket, float] = {}
    received: dict[socket.socket, bytes] = {}
    latencies: list[float] = []
    failures = 0
    for _ in range(connections):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        sent_at[connection] = time.perf_counter()
        received[connection] = b""
        connection.sendall(next(supply))
    start = time.perf_counter()
    end = start + seconds
    while (now := time.perf_counter()) < end:
        for key, _ in selector.select(0.5):
            connection = key.fileobj  # type: ignore[assignment] # only sockets are registered
            answer = received[connection] + connection.recv(65536)
            if not _is_whole(answer):
                received[connection] = answer
                continue
            received[connection] = b""
            now = time.perf_counter()
            latencies.append(now - sent_at[connection])
            failures += not answer.startswith(b"HTTP/1.1 200")
            sent_at[connection] = now
            connection.sendall(next(supply))
    for connection in sent_at:
        connection.close()
    selector.close()
    return Load(len(latencies), time.perf_counter() - start, sorted(latencies), failures)


def _is_whole(answer: bytes) -> bool:
    """gunicorn sends the head and the body of an answer one after the other."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return bool(end) and len(body) >= int(length[1] if length else 0)
