"""Runs both stand-ins in one process until it is told to end."""

import asyncio
import gc
import resource
import signal
from collections.abc import Callable

from app.sandbox.forwarder import Forwarder
from app.sandbox.iterable import Iterable
from app.sandbox.segment import Segment
from app.sandbox.server import Listener
from app.sandbox.standin import StandIn

# What arrives is kept, so collecting often finds nothing and holds up every connection meanwhile.
GC_THRESHOLD = 50_000


def serve(
    iterable_port: int,
    segment_port: int,
    host: str = "127.0.0.1",
    *,
    announce: Callable[[str, str], None],
) -> None:
    """Serve both stand-ins until SIGTERM or SIGINT; to be called in the main thread.

    Port 0 takes a free one. `announce` is called with the base URLs of Iterable's and of Segment's
    stand-in as soon as both can be reached. Raises OSError if a port is taken.
    """
    asyncio.run(_serve(iterable_port, segment_port, host, announce))


async def _serve(
    iterable_port: int, segment_port: int, host: str, announce: Callable[[str, str], None]
) -> None:
    gc.set_threshold(GC_THRESHOLD)
    _allow_many_connections()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    forwarder = Forwarder()
    iterable = Listener(StandIn(Iterable()))
    segment = Listener(StandIn(Segment(forwarder)))
    iterable_url = await iterable.open(host, iterable_port)
    try:
        announce(iterable_url, await segment.open(host, segment_port))
        await stop.wait()
        await segment.close()
    finally:
        await iterable.close()


def _allow_many_connections() -> None:
    """A connection is a file descriptor; the usual soft limit of 1,024 is soon reached."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
