"""Tells connections and locks about a fork of the process, which neither SQLite nor flock survives.

A forked process that inherits an open SQLite connection believes that it holds locks which only
its parent has, and that can corrupt the file (sqlite.org, How To Corrupt An SQLite Database File).
So connections are closed before a fork and opened again on both sides when they are needed. A lock
of flock(2) belongs to every process that inherited its file, so the child lets go of it at once.
"""

import os
import threading
from weakref import WeakSet


class ForkAware:
    """Something that is told before and after a fork, as long as it lives."""

    def __init__(self) -> None:
        with _registry:
            _living.add(self)

    def before_fork(self) -> None:
        """In the parent, before it forks: nothing may be left open that must not be inherited."""

    def after_fork(self, in_child: bool) -> None:
        """On both sides, when the fork has happened."""


_registry = threading.Lock()
_living: WeakSet[ForkAware] = WeakSet()


def _before() -> None:
    _registry.acquire()
    for one in _living:
        one.before_fork()


def _after(in_child: bool) -> None:
    for one in _living:
        one.after_fork(in_child)
    _registry.release()


os.register_at_fork(
    before=_before,
    after_in_parent=lambda: _after(in_child=False),
    after_in_child=lambda: _after(in_child=True),
)
