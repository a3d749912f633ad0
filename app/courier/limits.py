"""Keeping a partner's published rate limits, without any talk between the couriers.

Each courier process takes the share of a limit that its partitions are of all partitions. Whatever
second one looks at, the shares' sum then stays within the limit, because each share does. It holds
as long as each share is one request a second or more; below that, an unlucky second may see one of
each courier.
"""

from collections import deque
from collections.abc import Sequence
from math import floor
from typing import Protocol

from app.destination import RateLimit

# Requests go at an even pace, with a small burst to catch up; together they are the limit.
PACE = 0.95
BURST = 0.05
# Seconds within which a request reaches the partner's counter, also from a busy machine.
ARRIVAL = 0.25


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

    def answered(self, sent: float, now: float) -> None:
        """The request that went at `sent` has its answer."""
        ...


class Pacer:
    """A limit per second: requests at an even pace, counted until they are surely over.

    The partner counts a request at a moment that only it knows, between our sending and its answer;
    threads and networks that stall make bunches of what was sent evenly. So a request counts here
    until a second after its answer, or after ARRIVAL when the answer takes longer.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._per_second = limit.count / limit.seconds
        self._due = 0.0
        self._under_way: dict[float, int] = {}  # how many, by when they went: the oldest first
        self._over_at: deque[float] = deque()  # when the others cease to count
        self.share(1.0, 0.0)

    def share(self, part: float, now: float) -> None:
        ours = self._per_second * part
        # A whole number of requests a second, where it can be: of 1.7 a second, an unlucky second
        # would see 2, and three couriers with a third of 5 each would make 6 of it.
        self._count = max(1, floor(ours))
        self._seconds = 1.0 if ours >= 1 else 1 / ours
        # The pace alone keeps the limit when a share changes hands, as nobody knows what the other
        # has sent: the generic cell rate algorithm.
        self._interval = self._seconds / (self._count * PACE)
        self._slack = self._interval * max(0.0, self._count * BURST - 1)
        # Whoever had this share before us may have used it until just now: no burst to begin with.
        self._due = max(self._due, now + self._interval + self._slack)

    def wait(self, now: float) -> float:
        wait = max(0.0, self._due - self._slack - now)
        self._count_off(now)
        if sum(self._under_way.values()) + len(self._over_at) < self._count:
            return wait
        over_at = self._over_at[0] if self._over_at else self._arrived() + self._seconds
        return max(wait, over_at - now)

    def take(self, now: float) -> None:
        self._due = max(self._due, now) + self._interval
        self._under_way[now] = self._under_way.get(now, 0) + 1

    def answered(self, sent: float, now: float) -> None:
        if sent not in self._under_way:
            return
        self._over_at.append(now + self._seconds)
        self._under_way[sent] -= 1
        if not self._under_way[sent]:
            del self._under_way[sent]

    def _count_off(self, now: float) -> None:
        while self._under_way and self._arrived() <= now:
            oldest = next(iter(self._under_way))
            ends = [oldest + ARRIVAL + self._seconds] * self._under_way.pop(oldest)
            self._over_at.extend(ends)
        while self._over_at and self._over_at[0] <= now:
            self._over_at.popleft()

    def _arrived(self) -> float:
        """When the oldest request that is under way must have reached the partner."""
        return next(iter(self._under_way)) + ARRIVAL


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

    def answered(self, sent: float, now: float) -> None:
        """Of no matter over so long a time."""


def limiters(limits: Sequence[RateLimit]) -> list[Limiter]:
    """The limiters that keep `limits`, all of which must agree before a request goes."""
    return [Pacer(limit) if limit.seconds <= 1 else Window(limit) for limit in limits]
