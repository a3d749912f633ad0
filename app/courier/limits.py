"""Keeping a partner's published rate limits, without any talk between the couriers.

Each courier process takes the share of a limit that its partitions are of all partitions. Whatever
second one looks at, the shares' sum then stays within the limit, because each share does:
a steady pace of four fifths, with a burst of at most a twentieth. It holds as long as each share is
one request a second or more; below that, an unlucky second may see one of each courier.
"""

from collections import deque
from collections.abc import Sequence
from math import floor
from typing import Protocol

from app.destination import RateLimit

# The fifth left over covers what lies between our decision and the partner's clock: requests spaced
# evenly arrive bunched when threads or the network stall, for up to about a sixth of a second here.
# (Integrators of Iterable advise 70 to 80 % of a limit too.)
PACE = 0.8
BURST = 0.05


class Limiter(Protocol):
    """Says when the next request may go."""

    def share(self, part: float, now: float) -> None:
        """From now on `part` (more than 0, at most 1) of the limit is ours."""
        ...

    def wait(self, now: float) -> float:
        """Seconds until a request may go, 0 for at once. `now` is a monotonic clock's time."""
        ...

    def take(self, now: float) -> None:
        """A request goes now."""
        ...


class Pacer:
    """A limit per second: requests at an even pace (the generic cell rate algorithm)."""

    def __init__(self, limit: RateLimit) -> None:
        self._per_second = limit.count / limit.seconds
        self._due = 0.0
        self.share(1.0, 0.0)

    def share(self, part: float, now: float) -> None:
        ours = self._per_second * part
        # A whole number of requests a second, where it can be: of 1.7 a second, an unlucky second
        # would see 2, and three couriers with a third of 5 each would make 6 of it.
        whole = float(floor(ours)) if ours >= 1 else ours
        self._interval = 1 / (whole * PACE)
        self._slack = self._interval * max(0.0, whole * BURST - 1)
        # Whoever had this share before us may have used it until just now.
        self._due = max(self._due, now + self._interval)

    def wait(self, now: float) -> float:
        return max(0.0, self._due - self._slack - now)

    def take(self, now: float) -> None:
        self._due = max(self._due, now) + self._interval


class Window:
    """A limit over a longer time, such as 1,000 a day: at most that many in any such stretch."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._sent: deque[float] = deque()
        self.share(1.0, 0.0)

    def share(self, part: float, now: float) -> None:
        self._count = floor(self._limit.count * part)

    def wait(self, now: float) -> float:
        while self._sent and now - self._sent[0] >= self._limit.seconds:
            self._sent.popleft()
        if len(self._sent) < self._count:
            return 0.0
        if not self._count:
            return self._limit.seconds
        return self._sent[-self._count] + self._limit.seconds - now

    def take(self, now: float) -> None:
        self._sent.append(now)


def limiters(limits: Sequence[RateLimit]) -> list[Limiter]:
    """The limiters that keep `limits`, all of which must agree before a request goes."""
    return [Pacer(limit) if limit.seconds <= 1 else Window(limit) for limit in limits]
