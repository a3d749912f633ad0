"""A record under delivery, and the lanes that keep each person's records in order."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from app.courier.ledger import Ledger
from app.log.base import Record
from app.outcomes import Answer, Retry, Step


@dataclass(slots=True, eq=False)
class Parcel:
    """A record with the steps that deliver it.

    `attempts` are the tries that speak against the record: those that failed while the partner was
    well, which `health_seen` (the breaker's successes at the last failure, or when first sent)
    tells. `company` caps how many steps may share a request with this one after such a request was
    refused as a whole.
    """

    record: Record
    ledger: Ledger
    repeat: bool = False
    steps: list[Step] = field(default_factory=list)
    at: int = 0
    tries: int = 0
    attempts: int = 0
    health_seen: int | None = None
    company: int | None = None
    ready_since: float = 0.0
    took: float = 0.0
    answer: Answer | None = None
    notice: str | None = None
    refused: dict[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> Step:
        """What is to be sent now."""
        return self.steps[self.at]

    def next_step(self) -> None:
        """The step was delivered, and there is another."""
        self.at += 1
        self.attempts = 0
        self.health_seen = None
        self.company = None

    def sent(self, health: int) -> None:
        """The step is on its way; `health` are the breaker's successes until now."""
        self.tries += 1
        self.ledger.in_flight += 1
        if self.health_seen is None:
            self.health_seen = health

    def failed(self, outcome: Retry, company: int, health: int) -> None:
        """Count the try against the record, unless the partner failed everybody else as well.

        `company` is how many shared the request: halved at every failure, so that the one at fault
        is alone in the end.
        """
        if outcome.failing:
            if health == self.health_seen:
                return
            self.health_seen = health
            if company > 1 and self.attempts:
                self.company = company // 2
        self.attempts += 1


class Lanes:
    """One lane a person: only the first parcel of a lane may be under way.

    Strictly one at a time, also across the partner's endpoints: a purchase clears the cart, an
    event may need the profile to exist (Iterable, API documentation on ordering), so order matters
    there too. `parcels` and `bytes` are what all lanes hold in memory.
    """

    def __init__(self) -> None:
        self.parcels = 0
        self.bytes = 0
        self._lanes: dict[str, deque[Parcel]] = {}

    def enter(self, parcel: Parcel) -> bool:
        """Queue a parcel; True when it is its lane's first."""
        self._count(parcel, 1)
        lane = self._lanes.get(parcel.record.key)
        if lane is None:
            self._lanes[parcel.record.key] = deque((parcel,))
            return True
        lane.append(parcel)
        return False

    def leave(self, parcel: Parcel) -> Parcel | None:
        """The first parcel is done with; return the one that follows, if any."""
        self._count(parcel, -1)
        lane = self._lanes[parcel.record.key]
        lane.popleft()
        if lane:
            return lane[0]
        del self._lanes[parcel.record.key]
        return None

    def drop(self, ledger: Ledger) -> None:
        """Forget the parcels of a partition that was given away."""
        keys = [key for key, lane in self._lanes.items() if lane[0].ledger is ledger]
        for key in keys:
            for parcel in self._lanes.pop(key):
                self._count(parcel, -1)

    def _count(self, parcel: Parcel, number: int) -> None:
        self.parcels += number
        self.bytes += number * len(parcel.record.value or b"")
