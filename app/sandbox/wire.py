"""HTTP/1.1 as bytes: requests out of a stream, answers into it. No I/O here."""

from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from urllib.parse import parse_qsl

MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024 * 1024

JSON = "application/json"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_REASONS = {status.value: status.phrase for status in HTTPStatus}


class BadRequest(Exception):
    """The stream cannot be read as HTTP any further; the connection ends after the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Ending(Enum):
    """What the sender gets to see."""

    ANSWER = "answer"
    CUT = "cut"
    HANG = "hang"


@dataclass(slots=True)
class Request:
    """One request; header names are in lower case, `path` is still percent-encoded."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    keep_alive: bool = True
    body: bytes = b""


@dataclass(slots=True)
class Answer:
    """One answer, and after how many seconds (`delay`) and whether at all it is given."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    ending: Ending = Ending.ANSWER


def encode(answer: Answer, keep_alive: bool) -> bytes:
    """The answer as it goes over the wire."""
    lines = [
        f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Status')}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
    ]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    if not keep_alive:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + answer.body


class Parser:
    """Takes bytes as they arrive and gives whole requests, one after another."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._chunks = bytearray()
        self._head: Request | None = None
        self._length: int | None = 0  # None: the body comes in chunks

    def feed(self, data: bytes) -> None:
        """Take in what the socket gave."""
        self._buffer += data

    def take(self) -> Request | None:
        """The next whole request, or None while there is none.

        Raises BadRequest for what is not HTTP/1.x or too large.
        """
        if self._head is None and not self._take_head():
            return None
        body = self._take_chunked() if self._length is None else self._take_plain(self._length)
        if body is None:
            return None
        request, self._head = self._head, None
        assert request is not None  # noqa: S101 - for the type checker
        request.body = body
        return request

    def wants_continue(self) -> bool:
        """Whether the sender waits for `100 Continue` before it sends the body (curl does, for
        large bodies). True once per request."""
        return self._head is not None and self._head.headers.pop("expect", "") == "100-continue"

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise BadRequest(431, "the headers are too large")
            return False
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        self._head = _read_first_line(first, headers)
        self._length = _body_length(headers)
        return True

    def _take_plain(self, length: int) -> bytes | None:
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _take_chunked(self) -> bytes | None:
        buffer = self._buffer
        while (end := buffer.find(b"\r\n")) >= 0:
            size = _chunk_size(buffer[:end])
            if len(self._chunks) + size > MAX_BODY:
                raise BadRequest(413, "the body is too large")
            if size == 0:
                # Trailers may follow; an empty line ends them.
                close = buffer.find(b"\r\n\r\n", end)
                if close < 0:
                    return None
                del buffer[: close + 4]
                body, self._chunks = bytes(self._chunks), bytearray()
                return body
            if len(buffer) < end + size + 4:
                return None
            self._chunks += buffer[end + 2 : end + 2 + size]
            del buffer[: end + size + 4]
        return None


def _read_first_line(line: str, headers: dict[str, str]) -> Request:
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequest(400, "the request line is not HTTP/1.x")
    method, target, version = parts
    path, _, query = target.partition("?")
    connection = headers.get("connection", "").lower()
    keep_alive = connection == "keep-alive" if version == "HTTP/1.0" else connection != "close"
    variables = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
    return Request(method, path, variables, headers, keep_alive)


def _body_length(headers: dict[str, str]) -> int | None:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return None
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise BadRequest(400, "Content-Length is not a number")
    if int(text) > MAX_BODY:
        raise BadRequest(413, "the body is too large")
    return int(text)


def _chunk_size(line: bytearray) -> int:
    try:
        size = int(line.split(b";")[0], 16)
    except ValueError:
        size = -1
    if size < 0:
        raise BadRequest(400, "the size of a chunk is not a number")
    return size
