"""A small HTTP/1.1 server on asyncio: thousands of kept-alive connections in one thread.

Latency, hanging and cutting hold up the one connection they concern and no other.
"""

import asyncio
from collections.abc import Callable

import orjson

from app.sandbox.wire import CONTINUE, Answer, BadRequest, Ending, Parser, Request, encode

# A courier with a pool of threads opens all of its connections at once.
BACKLOG = 4096

Handler = Callable[[Request], Answer]


class Connection(asyncio.Protocol):
    """One connection: requests are answered one at a time, in the order they came."""

    def __init__(self, handle: Handler, connections: set["Connection"]) -> None:
        self._handle = handle
        self._connections = connections
        self._parser = Parser()
        self._transport: asyncio.Transport
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio: somebody has connected."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio: either side has ended the connection."""
        self._connections.discard(self)
        self._busy = True
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Asyncio: bytes have come in."""
        self._parser.feed(data)
        self._advance()

    def abort(self) -> None:
        """End the connection at once, without a word."""
        self._transport.abort()

    def _advance(self) -> None:
        try:
            while not self._busy:
                request = self._parser.take()
                if request is None:
                    if self._parser.wants_continue():
                        self._transport.write(CONTINUE)
                    return
                self._give(self._handle(request), request.keep_alive)
        except BadRequest as problem:
            body = orjson.dumps({"code": "BadRequest", "message": problem.message})
            self._send(Answer(problem.status, body), keep_alive=False)

    def _give(self, answer: Answer, keep_alive: bool) -> None:
        if answer.ending is Ending.HANG:
            self._busy = True
        elif answer.delay > 0:
            self._busy = True
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(answer.delay, self._give_late, answer, keep_alive)
        else:
            self._send(answer, keep_alive)

    def _give_late(self, answer: Answer, keep_alive: bool) -> None:
        self._busy = False
        self._send(answer, keep_alive)
        self._advance()

    def _send(self, answer: Answer, keep_alive: bool) -> None:
        if answer.ending is Ending.CUT:
            self._busy = True
            self._transport.abort()
            return
        self._transport.write(encode(answer, keep_alive))
        if not keep_alive:
            self._busy = True
            self._transport.close()


class Listener:
    """A listening port and its open connections."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._connections: set[Connection] = set()
        self._server: asyncio.Server

    async def open(self, host: str, port: int) -> str:
        """Listen; port 0 takes a free one. Returns the base URL; raises OSError if the port is
        taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._handle, self._connections), host, port, backlog=BACKLOG
        )
        return f"http://{host}:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening and end every connection, the hanging ones too."""
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await self._server.wait_closed()
