"""The delivery threads: they take requests, wait for the partner, and bring back the outcomes."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from app.courier.parcel import Parcel
from app.destination import Destination
from app.outcomes import Outcome, Retry

logger = logging.getLogger("bridge.courier")


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that came back: one outcome for each parcel, when it was handed over and when its
    answer came (monotonic seconds), and the seconds it took."""

    endpoint: str
    parcels: list[Parcel]
    outcomes: Sequence[Outcome]
    sent: float
    at: float
    took: float


class Crew:
    """`size` threads that deliver to one destination. `clock` is monotonic."""

    def __init__(self, destination: Destination, size: int, clock: Callable[[], float]) -> None:
        self._destination = destination
        self._clock = clock
        self._jobs: SimpleQueue[tuple[str, list[Parcel], float] | None] = SimpleQueue()
        self._answers: SimpleQueue[Answered] = SimpleQueue()
        self.free = size
        self.busy = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"{destination.group}-{i}", daemon=True)
            for i in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, endpoint: str, parcels: list[Parcel], now: float) -> None:
        """Hand over a request; only while `free` is above 0."""
        self.free -= 1
        self.busy += 1
        self._jobs.put((endpoint, parcels, now))

    def answers(self, timeout: float) -> Iterator[Answered]:
        """The requests that came back, waiting up to `timeout` seconds for the first."""
        try:
            answer = (
                self._answers.get(timeout=timeout) if timeout > 0 else self._answers.get_nowait()
            )
            while True:
                self.free += 1
                self.busy -= 1
                yield answer
                answer = self._answers.get_nowait()
        except Empty:
            return

    def close(self) -> None:
        """End the threads; one that still waits for the partner is left behind."""
        for _ in self._threads:
            self._jobs.put(None)
        until = time.monotonic() + 1.0
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            endpoint, parcels, sent = job
            started = self._clock()
            try:
                outcomes = self._destination.deliver(endpoint, [parcel.step for parcel in parcels])
            except Exception:
                # A defect of ours must neither lose the records nor stop the others.
                logger.exception("%s: delivery failed unexpectedly", endpoint)
                outcomes = [Retry("internal_error")] * len(parcels)
            now = self._clock()
            self._answers.put(Answered(endpoint, parcels, outcomes, sent, now, now - started))
