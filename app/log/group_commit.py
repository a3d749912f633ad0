"""Group commit: concurrent appends of a process share one transaction, without an extra thread.

Whoever comes while nobody commits becomes the leader and commits all that is queued by then; those
who come meanwhile wait, and one of them leads the next round.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from app.log.base import LogUnavailable
from app.log.forks import ForkAware


class Row(NamedTuple):
    """A record ready to be stored: `first` is the position of its partition's first record."""

    first: int
    key: str
    headers: bytes
    value: bytes | None


@dataclass(slots=True, eq=False)
class Entry:
    """What one append wants stored; `positions` are filled in by the commit."""

    rows: Sequence[Row]
    positions: list[int] = field(default_factory=list)
    settled: bool = False
    error: Exception | None = None


class GroupCommit(ForkAware):
    """Collects entries and has `commit` store them together, all or none."""

    def __init__(self, commit: Callable[[Callable[[], Sequence[Entry]]], None]) -> None:
        """`commit` gets a function that takes everything queued; it calls it as late as it can."""
        super().__init__()
        self._commit = commit
        self._changed = threading.Condition(threading.Lock())
        self._queue: list[Entry] = []
        self._leading = False

    def store(self, entry: Entry) -> None:
        """Return when `entry` is durable. Raises LogUnavailable when it could not be stored."""
        with self._changed:
            self._queue.append(entry)
            while self._leading and not entry.settled:
                self._changed.wait()
            if not entry.settled:
                self._leading = True
        if not entry.settled:
            self._lead()
        if entry.error is not None:
            raise LogUnavailable(str(entry.error)) from entry.error

    def after_fork(self, in_child: bool) -> None:
        """What was queued belongs to threads that only the parent has."""
        if in_child:
            self._changed = threading.Condition(threading.Lock())
            self._queue = []
            self._leading = False

    def _lead(self) -> None:
        batch: list[Entry] = []

        def take() -> Sequence[Entry]:
            with self._changed:
                batch.extend(self._queue)
                self._queue.clear()
            return batch

        error: Exception | None = RuntimeError("the commit was interrupted")
        try:
            self._commit(take)
            error = None
        except Exception as failure:
            error = failure
        finally:
            with self._changed:
                # A commit that failed before it took the queue fails all who wait for it.
                if error is not None and not batch:
                    batch.extend(self._queue)
                    self._queue.clear()
                for entry in batch:
                    entry.error, entry.settled = error, True
                self._leading = False
                self._changed.notify_all()
