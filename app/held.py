"""Answers that are held back until their record is stored.

Whoever serves the bridge may give a door a `HeldAnswer` in place of the connection's socket, as
`app.gunicorn_worker` does. Behind any other server the doors store their records themselves.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from flask import Response

from app.log.base import Log, NewRecord

# Bytes of the largest record that waits so. A server takes many more connections than it has
# threads, and whatever they bring is in memory.
LARGEST = 64 * 1024


class Left(NamedTuple):
    """A record that is to be stored before the answer goes out."""

    log: Log
    topic: str
    record: NewRecord


class HeldAnswer:
    """A connection's socket for one request; once a record is left with it, it only collects what
    is sent."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.left: Left | None = None
        self._collected: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)

    def sendall(self, data: bytes) -> None:
        """Send, or collect."""
        if self.left is None:
            self.socket.sendall(data)
        else:
            self._collected.append(data)

    def content(self, instead: Response | None) -> bytes:
        """The answer as it goes over the wire.

        `instead` is the one to give when the record could not be stored. It keeps those headers of
        the first one that it does not have itself, such as CORS's.
        """
        collected = b"".join(self._collected)
        if instead is None or not collected:  # nothing, when making the answer failed
            return collected
        first, *lines = collected.partition(b"\r\n\r\n")[0].split(b"\r\n")
        kept = [line for line in lines if line.partition(b":")[0].decode() not in instead.headers]
        head = [
            first.partition(b" ")[0] + f" {instead.status}".encode(),
            *kept,
            *(f"{name}: {value}".encode() for name, value in instead.headers),
        ]
        return b"\r\n".join([*head, b"", instead.get_data()])


def store(environ: Mapping[str, Any], log: Log, topic: str, record: NewRecord) -> None:
    """Store a record, or leave it with the answer, which then waits until it is stored.

    Raises LogUnavailable.
    """
    answer = environ.get("gunicorn.socket")
    if isinstance(answer, HeldAnswer) and len(record.value or b"") <= LARGEST:
        answer.left = Left(log, topic, record)
    else:
        log.append(topic, [record])
