"""Group commit: concurrent appends of a process share one transaction, without an extra thread.

Whoever comes while nobody commits becomes the leader and commits all that is queued by then; those
who come meanwhile wait, and the first of them leads the next round while the disk is still busy
with this one.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.log.base import LogUnavailable
from app.log.forks import ForkAware

Row = tuple[int, str, bytes, bytes | None]
"""A record ready to be stored: the position of its partition's first record, its key, headers and
value."""


@dataclass(slots=True, eq=False)
class Entry:
    """What one append wants stored; `positions` are filled in by the commit."""

    rows: Sequence[Row]
    positions: list[int] = field(default_factory=list)
    settled: bool = False
    error: Exception | None = None
    # Held until the entry is settled, or its thread is to lead.
    turn: threading.Lock = field(default_factory=threading.Lock)


class GroupCommit(ForkAware):
    """Collects entries and has `commit` store them together, all or none."""

    def __init__(
        self,
        commit: Callable[[Callable[[], Sequence[Entry]]], None],
        flush: Callable[[], None],
    ) -> None:
        """`commit` gets a function that takes everything queued; it calls it as late as it can.

        `flush` makes durable what was committed before; several threads may be in it at once.
        """
        super().__init__()
        self._commit = commit
        self._flush = flush
        self._changing = threading.Lock()
        self._queue: list[Entry] = []
        self._leading = False
        self._together = 1  # entries in the last commit

    def store(self, entry: Entry) -> None:
        """Return when `entry` is durable. Raises LogUnavailable when it could not be stored."""
        with self._changing:
            self._queue.append(entry)
            waits, self._leading = self._leading, True
            if waits:
                entry.turn.acquire()
        if waits:
            entry.turn.acquire()
        if not entry.settled:
            self._lead(entry)
        if entry.error is not None:
            raise LogUnavailable(str(entry.error)) from entry.error

    def after_fork(self, in_child: bool) -> None:
        """What was queued belongs to threads that only the parent has."""
        if in_child:
            self._changing = threading.Lock()
            self._queue = []
            self._leading = False

    def _lead(self, own: Entry) -> None:
        batch: list[Entry] = []

        def take() -> Sequence[Entry]:
            with self._changing:
                batch.extend(self._queue)
                self._queue.clear()
            self._together = len(batch)
            return batch

        error: Exception | None = RuntimeError("the commit was interrupted")
        try:
            try:
                self._gather()
                self._commit(take)
            finally:
                if not batch:
                    # A commit that failed before it took the queue fails all who wait for it.
                    take()
                self._hand_over()
            self._flush()
            error = None
        except Exception as failure:
            error = failure
        finally:
            self._settle(own, batch, error)

    def _gather(self) -> None:
        """In a crowd, let the threads that are about to append do so, as long as there are any.

        A commit lets go of the interpreter many times; each time, a thread that could have been in
        it would get in its way. Whoever is alone would wait for nobody: some 0.1 ms.
        """
        waiting = 0
        while self._together > 1 and len(self._queue) > waiting:
            waiting = len(self._queue)
            time.sleep(0)

    def _hand_over(self) -> None:
        with self._changing:
            self._leading = bool(self._queue)
            if self._queue:
                self._queue[0].turn.release()

    def _settle(self, own: Entry, batch: Sequence[Entry], error: Exception | None) -> None:
        for entry in batch:
            entry.error, entry.settled = error, True
        for entry in batch:
            if entry is not own:
                entry.turn.release()
