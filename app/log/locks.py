"""Locks between processes that the operating system frees when their holder dies: flock(2).

A lock belongs to the open file, not to the process, so two holders in one process exclude each
other too.
"""

import fcntl
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from app.log.forks import ForkAware


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


class FileLock(ForkAware):
    """An exclusive lock on a file, taken without waiting."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file: int | None = None

    def acquire(self) -> bool:
        """Take the lock; False when somebody else has it.

        Raises OSError when the file cannot be opened.
        """
        file = _open(self._path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Give the lock back; harmless without it."""
        if self._file is not None:
            # Closing alone is not enough: a process just forked may still have the file open.
            fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
            self._file = None

    def taken_by_another(self) -> bool:
        """Whether somebody else has the lock now. Probes never see one another."""
        file = _open(self._path)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def after_fork(self, in_child: bool) -> None:
        """Leave the lock to the parent."""
        if in_child and self._file is not None:
            os.close(self._file)
            self._file = None


class WriteLock(ForkAware):
    """One writer at a time, over all threads and processes; each waits in the kernel for its turn.

    Two files make it fair: whoever waits at the door has closed the turnstile behind it, so the one
    that comes out cannot slip in again before.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._paths = (folder / "turnstile", folder / "door")
        self._files: list[int] = []
        self._thread = threading.Lock()

    def __enter__(self) -> None:
        self._thread.acquire()
        try:
            while len(self._files) < len(self._paths):
                self._files.append(_open(self._paths[len(self._files)]))
            turnstile, door = self._files
            fcntl.flock(turnstile, fcntl.LOCK_EX)
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(turnstile, fcntl.LOCK_UN)
        except BaseException:
            self._close_files()
            self._thread.release()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            fcntl.flock(self._files[1], fcntl.LOCK_UN)
        finally:
            self._thread.release()

    def close(self) -> None:
        """Let go of the files; the next use opens them again."""
        with self._thread:
            self._close_files()

    def after_fork(self, in_child: bool) -> None:
        """Leave the lock to the parent; a thread that held it there does not exist in the child."""
        if in_child:
            self._close_files()
            self._thread = threading.Lock()

    def _close_files(self) -> None:
        for file in self._files:
            with suppress(OSError):
                os.close(file)
        self._files = []


class Membership:
    """One member's seat in a consumer group, and the partitions it holds.

    There are as many seats as partitions: more members could not get anything to read. The seats
    that are taken tell how many members there are and which of them I am, so everyone arrives at
    the same fair shares without talking to each other.
    """

    def __init__(self, folder: Path, partitions: int) -> None:
        self._seats = [FileLock(folder / f"seat-{number}") for number in range(partitions)]
        self._locks = [FileLock(folder / f"partition-{number}") for number in range(partitions)]
        self._seat: int | None = None
        self._held: set[int] = set()

    @property
    def held(self) -> frozenset[int]:
        """The partitions that this member holds."""
        return frozenset(self._held)

    def join(self) -> None:
        """Take a seat when there is a free one.

        Raises OSError when the lock files cannot be opened, as the other methods do.
        """
        if self._seat is None:
            self._seat = next((n for n, seat in enumerate(self._seats) if seat.acquire()), None)

    def share(self) -> int:
        """How many partitions this member should hold; the shares of all add up to all of them."""
        if self._seat is None:
            return 0
        taken = [
            number
            for number, seat in enumerate(self._seats)
            if number == self._seat or seat.taken_by_another()
        ]
        each, rest = divmod(len(self._locks), len(taken))
        return each + (taken.index(self._seat) < rest)

    def take(self, share: int) -> None:
        """Hold up to `share` partitions, as far as there are free ones."""
        for number, lock in enumerate(self._locks):
            if len(self._held) >= share:
                return
            if number not in self._held and lock.acquire():
                self._held.add(number)

    def surplus(self, share: int) -> frozenset[int]:
        """The partitions to give away so that `share` are left."""
        return frozenset(sorted(self._held)[share:])

    def release(self, partitions: Iterable[int]) -> None:
        """Give partitions away."""
        for number in partitions:
            self._held.discard(number)
            self._locks[number].release()

    def leave(self) -> None:
        """Give everything back, the seat too."""
        self.release(self.held)
        if self._seat is not None:
            self._seats[self._seat].release()
            self._seat = None
