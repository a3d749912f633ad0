"""Keeps the processes of `bridge run` alive, and ends them together."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import click

from app import lifeline

# A process that ends by itself is started again, but not faster than this (seconds).
RESTART_AFTER = 1.0
# One that ends so soon, so often, has a reason that will not go away.
SOON = 5.0
TOO_OFTEN = 5
# How long a process may take to finish what is under way (seconds).
GRACE = 30.0


@dataclass
class Child:
    """A process that runs `bridge ARGUMENTS`."""

    name: str
    arguments: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0

    def start(self, environ: Mapping[str, str], lifeline_end: int) -> None:
        """Start it in a session of its own: Ctrl-C is for the supervisor, which stops it in
        order."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 # our own program, no shell
            [sys.executable, "-m", "app.cli", *self.arguments],
            env={**os.environ, **environ, lifeline.VARIABLE: str(lifeline_end)},
            pass_fds=(lifeline_end,),
            start_new_session=True,
        )

    def stop(self) -> None:
        """End it gracefully, and forcibly when it does not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Stop:
    """An event that a signal handler may set while the same thread waits for it.

    A threading.Event may not: its lock is taken for a moment at both ends of `wait`, and a handler
    that runs just then would wait for it for ever.
    """

    def __init__(self) -> None:
        self._asked: SimpleQueue[None] = SimpleQueue()
        self._set = False

    def set(self) -> None:
        """Ask to stop."""
        self._set = True
        self._asked.put(None)

    def wait(self, seconds: float) -> bool:
        """Whether it is set, waiting up to so many seconds for that."""
        if not self._set:
            with suppress(Empty):
                self._asked.get(timeout=seconds)
        return self._set


def supervise(children: Sequence[Child], environ: Mapping[str, str]) -> int:
    """Run `children` until SIGTERM or SIGINT; return the exit status for `bridge run`."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    reading, writing = os.pipe()
    try:
        for child in children:
            child.start(environ, reading)
        while not stop.wait(0.2):
            for child in children:
                if not _keep(child, environ, reading, stop):
                    return 1
        return 0
    finally:
        # The door first: nothing new comes in while delivery finishes what is under way.
        for child in children:
            child.stop()
        os.close(reading)
        os.close(writing)


def _keep(child: Child, environ: Mapping[str, str], end: int, stop: Stop) -> bool:
    """Start a child anew that ended by itself; False when that happens too often."""
    if child.process is None or child.process.poll() is None:
        return True
    lived = time.monotonic() - child.started
    child.failures = child.failures + 1 if lived < SOON else 1
    status = child.process.returncode
    if child.failures >= TOO_OFTEN:
        click.echo(f"The {child.name} process keeps ending (status {status}); giving up.", err=True)
        return False
    click.echo(f"The {child.name} process ended (status {status}); starting it again.", err=True)
    if not stop.wait(RESTART_AFTER):
        child.start(environ, end)
    return True
