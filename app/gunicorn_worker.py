"""gunicorn's threaded worker, with answers that wait for the log without keeping a thread.

A thread that has made an answer with a record to be stored goes on to the next request. Whoever
finds nobody else at work stores what all of them left, in one append, and only then the answers go
out. So a group is as large as the load makes it, no thread sleeps and is woken for each request,
and a slow log does not use the threads up.
"""

import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple

from gunicorn.workers.gthread import TConn, ThreadWorker

from app.door import not_taken
from app.held import HeldAnswer, Left
from app.log.base import LogUnavailable

# Seconds that an answer waits for company while others are at work, who may be reading a body that
# comes slowly; and answers that are company enough.
PATIENCE = 0.02
ENOUGH = 64


class Connection(NamedTuple):
    """What gunicorn handles a request with: the connection, its socket replaced."""

    sock: HeldAnswer
    client: Any
    server: Any


class Handled(NamedTuple):
    """What gunicorn asks of a finished future: whether the connection is to be kept."""

    keeps: Any

    def cancelled(self) -> bool:
        """It never is."""
        return False

    def result(self) -> Any:
        """What `handle` returned."""
        return self.keeps


class Waiting(NamedTuple):
    """An answer that is held back, and what gunicorn needs to go on with its connection."""

    answer: HeldAnswer
    left: Left
    connection: TConn
    handled: Handled


class HoldingWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """See above. It replaces steps of gunicorn's worker: a request is queued and handled, and the
    main thread waits for what comes next."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._changing = threading.Lock()
        self._at_work = 0  # requests queued or being handled
        self._storing = 0  # groups
        self._held: dict[TConn, tuple[HeldAnswer, Left]] = {}  # by threads at work
        self._waiting: list[Waiting] = []
        self._oldest = 0.0  # of those waiting

    def init_process(self) -> None:
        """In the new process: start, and run until the end."""
        # For those out of patience: all threads of the pool may be busy with slow senders.
        self._impatient = ThreadPoolExecutor(self.cfg.threads, "impatient")
        super().init_process()

    def enqueue_req(self, conn: TConn) -> None:
        """In the main thread: a connection has something to read."""
        with self._changing:
            self._at_work += 1
        self.tpool.submit(self._serve, conn)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """In a thread of the pool: have the application answer, with a socket that can hold the
        answer back. What is sent over TLS may have to wait, so it is left as it is."""
        if self.cfg.is_ssl:
            return super().handle_request(req, conn)
        answer = HeldAnswer(conn.sock)
        try:
            return super().handle_request(req, Connection(answer, conn.client, conn.server))
        finally:
            if answer.left:
                self._held[conn] = answer, answer.left

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """In the main thread, again and again."""
        super().wait_for_and_dispatch_events(
            PATIENCE if self._at_work or self._waiting else timeout
        )
        if self._waiting and time.monotonic() > self._oldest + PATIENCE:
            with self._changing:
                group = self._take() if self._storing < self.cfg.threads else []
            if group:
                self._impatient.submit(self._store, group)

    def _serve(self, conn: TConn) -> None:
        handled = Handled(False)
        with suppress(SystemExit):  # gunicorn's timeout; all else is dealt with
            handled = Handled(self.handle(conn))
        held = self._held.pop(conn, None)
        if not held:
            self.method_queue.defer(self.finish_request, conn, handled)
        with self._changing:
            self._at_work -= 1
            if held:
                if not self._waiting:
                    self._oldest = time.monotonic()
                self._waiting.append(Waiting(*held, conn, handled))
            group = self._take_if_ready()
        self._store(group)

    def _take_if_ready(self) -> list[Waiting]:
        # One group at a time, as long as there is patience: the next one grows meanwhile.
        ready = not self._storing and (not self._at_work or len(self._waiting) >= ENOUGH)
        return self._take() if ready else []

    def _take(self) -> list[Waiting]:
        group, self._waiting = self._waiting, []
        self._storing += bool(group)
        return group

    def _store(self, group: Sequence[Waiting]) -> None:
        """Store what a group left, and let its answers go; then the next one, if it is ready."""
        while group:
            try:
                finished = []
                for _, together in groupby(group, key=lambda waiting: waiting.left[:2]):
                    members = list(together)
                    error = self._append(members)
                    finished += [waiting for waiting in members if self._send(waiting, error)]
                self.method_queue.defer(self._finish, finished)
            finally:
                with self._changing:
                    self._storing -= 1
            with self._changing:
                group = self._take_if_ready()

    def _append(self, members: Sequence[Waiting]) -> Exception | None:
        log, topic, _ = members[0].left
        try:
            log.append(topic, [waiting.left.record for waiting in members])
        except LogUnavailable as error:
            self.log.error("the log is unavailable: %s", error)
            return error
        except Exception as error:
            self.log.exception("unexpected error")
            return error
        return None

    def _send(self, waiting: Waiting, error: Exception | None) -> bool:
        """Send an answer; False when its reader is slow, and another thread goes on with it."""
        content = waiting.answer.content(None if error is None else not_taken(error))
        sent = 0
        try:
            sent = waiting.answer.socket.send(content, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except OSError:  # the sender is gone, which gunicorn finds out when it reads on
            return True
        if sent < len(content):
            self.tpool.submit(self._send_slowly, waiting, content[sent:])
        return sent == len(content)

    def _send_slowly(self, waiting: Waiting, content: bytes) -> None:
        with suppress(OSError):
            waiting.answer.socket.sendall(content)
        self.method_queue.defer(self._finish, [waiting])

    def _finish(self, group: Sequence[Waiting]) -> None:
        """In the main thread: go on with the connections of answers that went out."""
        for waiting in group:
            self.finish_request(waiting.connection, waiting.handled)
