"""Delivery: which destinations there are, and a process that runs a courier for each."""

import gc
import logging
import threading
from collections.abc import Callable

from app.courier import Courier
from app.destination import Destination
from app.inbound.segment import SegmentDestination
from app.log.base import Log
from app.outbound.iterable import IterableDestination
from app.outbound.request import MOBILE, SERVER, WEB
from app.outbound.uninstalls import UninstallDestination
from app.retention import Janitor
from app.settings import Settings

logger = logging.getLogger("bridge.delivery")

# analytics-python sends batches; a few at a time are plenty.
SEGMENT_THREADS = 4
# Token registrations are rare beside the calls that carry them.
TOKEN_THREADS = 8


def routes(settings: Settings) -> dict[str, tuple[Callable[[], Destination], int]]:
    """Every consumer group with what makes its destination and its number of delivery threads."""
    found: dict[str, tuple[Callable[[], Destination], int]] = {}
    if settings.iterable_api_key:
        threads = settings.bridge_delivery_threads
        found["iterable"] = (lambda: IterableDestination(settings, SERVER), threads)
    if settings.iterable_mobile_api_key:
        found["iterable-mobile"] = (lambda: IterableDestination(settings, MOBILE), TOKEN_THREADS)
    if settings.iterable_web_api_key:
        found["iterable-web"] = (lambda: IterableDestination(settings, WEB), TOKEN_THREADS)
    if settings.segment_write_key:
        found["segment"] = (lambda: SegmentDestination(settings), SEGMENT_THREADS)
    if settings.iterable_mobile_api_key and settings.disable_device_on_uninstall:
        found["iterable-uninstalls"] = (lambda: UninstallDestination(settings), TOKEN_THREADS)
    return found


# Thousands of records are under way at a time, alive for long and without cycles. To look through
# all of them for garbage, as Python does by default again and again, takes a fifth of a second each
# time, in which nothing is sent.
GARBAGE = (50_000, 20, 100)


def deliver(settings: Settings, log: Log, stop: threading.Event) -> bool:
    """Run all couriers until `stop` is set. Return whether it ended because it was asked to.

    A courier that breaks down ends the process (the supervisor starts it anew): running on with
    half of the destinations would hide it.
    """
    gc.set_threshold(*GARBAGE)
    broken = threading.Event()

    def run(group: str, make: Callable[[], Destination], threads: int) -> None:
        try:
            courier = Courier(
                make(), log, threads=threads, max_attempts=settings.bridge_max_attempts
            )
            courier.run(stop)
        except Exception:
            logger.exception("the courier %s broke down", group)
            broken.set()
            stop.set()

    found = routes(settings)
    couriers = [
        threading.Thread(target=run, args=(group, *route), name=group)
        for group, route in found.items()
    ]
    couriers.append(threading.Thread(target=Janitor(settings, log, stop).run, name="janitor"))
    for courier in couriers:
        courier.start()
    for courier in couriers:
        courier.join()
    return not broken.is_set()
