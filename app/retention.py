"""Retention: what is delivered leaves the embedded log after a while, in small bites."""

import logging
import threading
import time
from collections.abc import Callable

from app.log.base import ITERABLE_WEBHOOKS, RECEIPTS, SEGMENT_CALLS, Log, LogUnavailable
from app.settings import Settings

logger = logging.getLogger("bridge.retention")

EVERY = 10.0
# Between two bites, so that senders and couriers come first.
BREATH = 0.05
# Receipts answer questions about what has just happened.
RECEIPTS_KEPT = 86400.0


def groups(settings: Settings, topic: str) -> list[str]:
    """The consumer groups that must have finished a record of `topic` before it may go.

    The main group of a direction counts even while its key is not set: what was acknowledged waits
    for the key.
    """
    if topic == SEGMENT_CALLS:
        more = {
            "iterable-mobile": settings.iterable_mobile_api_key,
            "iterable-web": settings.iterable_web_api_key,
        }
        return ["iterable", *(group for group, key in more.items() if key)]
    if topic == ITERABLE_WEBHOOKS:
        uninstalls = settings.disable_device_on_uninstall and settings.iterable_mobile_api_key
        return ["segment", *(["iterable-uninstalls"] if uninstalls else [])]
    return []


class Janitor:
    """Trims the log until `stop` is set; several of them do no harm. `now` is Unix time."""

    def __init__(
        self,
        settings: Settings,
        log: Log,
        stop: threading.Event,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._log = log
        self._stop = stop
        self._now = now

    def run(self) -> None:
        """Trim every few seconds."""
        while not self._stop.wait(EVERY):
            try:
                self.sweep()
            except LogUnavailable as error:
                logger.warning("nothing could be trimmed: %s", error)

    def sweep(self) -> int:
        """Remove all that may go now, bite by bite; return how many records went."""
        kept = self._settings.bridge_retention
        removed = 0
        for topic, seconds in (
            (SEGMENT_CALLS, kept),
            (ITERABLE_WEBHOOKS, kept),
            (RECEIPTS, min(kept, RECEIPTS_KEPT)),
        ):
            while bite := self._log.trim(
                topic, groups(self._settings, topic), self._now() - seconds
            ):
                removed += bite
                if self._stop.wait(BREATH):
                    return removed
        return removed
