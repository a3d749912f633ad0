"""Which parcels go next: ready queues per endpoint, rate limits, pauses, delays and batches."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count

from app.courier.circuit import Breaker, Hold
from app.courier.ledger import Ledger
from app.courier.limits import limiters
from app.courier.parcel import Parcel
from app.destination import Endpoint
from app.outcomes import Hold as Refused
from app.outcomes import Outcome, Retry, backoff

NEVER = float("inf")
# Nobody is made to wait longer than this by one answer: it may be wrong (a date for a duration).
LONGEST_WAIT = 3600.0


class Queue:
    """The parcels ready for one endpoint, and when it may be called. Times are monotonic
    seconds."""

    def __init__(self, endpoint: Endpoint, chance: Callable[[], float]) -> None:
        self.endpoint = endpoint
        self.breaker = Breaker(chance)
        self.ready: deque[Parcel] = deque()
        self.paused_until = 0.0
        self.limited_in_a_row = 0
        self.limiters = limiters(endpoint.limits)

    def wait(self, now: float) -> float:
        """Seconds until a request may be made of what is ready; infinity when nothing is."""
        if not self.ready:
            return NEVER
        wait = max(0.0, self.paused_until - now, self._linger(now), self.breaker.wait(now))
        for limiter in self.limiters:
            wait = max(wait, limiter.wait(now))
        return wait

    def _linger(self, now: float) -> float:
        first = self.ready[0]
        if first.company is not None or len(self.ready) >= self.endpoint.batch_size:
            return 0.0
        return first.ready_since + self.endpoint.linger - now

    def take(self, now: float) -> list[Parcel]:
        """The parcels of the next request."""
        self.breaker.sent()
        for limiter in self.limiters:
            limiter.take(now)
        room = self.endpoint.batch_size
        if room == 1:
            return [self.ready.popleft()]
        batch: list[Parcel] = []
        filled = 0
        while self.ready and len(batch) < room:
            parcel = self.ready[0]
            room = min(room, parcel.company or room)
            filled += parcel.step.size
            if batch and (len(batch) >= room or self._too_large(filled)):
                break
            batch.append(self.ready.popleft())
        return batch

    def _too_large(self, size: int) -> bool:
        return 0 < self.endpoint.batch_bytes < size

    def add(self, parcel: Parcel, now: float, first: bool) -> None:
        """The parcel may go; `first` puts it before the others."""
        parcel.ready_since = now
        if not first:
            self.ready.append(parcel)
            return
        if self.ready:  # those behind it have not begun to wait only now
            parcel.ready_since = min(now, self.ready[0].ready_since)
        self.ready.appendleft(parcel)

    def pause(self, seconds: float, now: float) -> None:
        """No request for so long."""
        self.paused_until = max(self.paused_until, now + seconds)


class Dispatcher:
    """Hands out requests as the partner's endpoints, limits and health allow. `chance`: see
    Breaker."""

    def __init__(self, endpoints: Mapping[str, Endpoint], chance: Callable[[], float]) -> None:
        self.hold = Hold()
        self._chance = chance
        self._queues = {name: Queue(endpoint, chance) for name, endpoint in endpoints.items()}
        self._delayed: list[tuple[float, int, Parcel]] = []
        self._order = count()

    @property
    def state(self) -> tuple[str, str]:
        """How the destination is, for `bridge status`: `ok`, `failing` or `held`, and the
        reason."""
        if self.hold.reason:
            return "held", self.hold.reason
        failing = ((name, queue.breaker.reason) for name, queue in self._queues.items())
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failing if reason)
        return ("failing", reasons) if reasons else ("ok", "")

    def breaker(self, endpoint: str) -> Breaker:
        """The breaker of an endpoint."""
        return self._queues[endpoint].breaker

    def share(self, part: float, now: float) -> None:
        """`part` (0 to 1) of every rate limit is ours from now on."""
        for queue in self._queues.values():
            for limiter in queue.limiters:
                limiter.share(part, now)

    def ready(self, parcel: Parcel, now: float, first: bool = False) -> None:
        """The parcel may go now; `first` puts it before the others of its endpoint."""
        self._queues[parcel.step.endpoint].add(parcel, now, first)

    def delay(self, parcel: Parcel, until: float) -> None:
        """The parcel may go from `until` on."""
        heappush(self._delayed, (until, next(self._order), parcel))

    def answered(self, endpoint: str, sent: float, at: float) -> None:
        """The request of time `sent` had its answer `at` that time."""
        for limiter in self._queues[endpoint].limiters:
            limiter.answered(sent, at)

    def learn(self, endpoint: str, outcomes: Sequence[Outcome], sent: float, now: float) -> None:
        """Take from the answer to the request of time `sent` what it says of the partner."""
        queue = self._queues[endpoint]
        refused = next((o for o in outcomes if isinstance(o, Refused)), None)
        retries = [o for o in outcomes if isinstance(o, Retry)]
        if refused:
            self.hold.refused(sent, now, endpoint, refused.reason)
            queue.breaker.undecided(sent)
        elif len(retries) == len(outcomes) and not any(map(_well, retries)):
            self.hold.undecided(sent)
            self._unwell(queue, retries, sent, now)
        else:
            self.hold.accepted(sent)
            queue.breaker.succeeded()
            queue.limited_in_a_row = 0

    def _unwell(self, queue: Queue, retries: Sequence[Retry], sent: float, now: float) -> None:
        """The rate limit was met, the partner failed, or nothing was heard of it."""
        after = max((wanted_wait(retry) for retry in retries), default=0.0)
        queue.pause(after, now)
        if any(retry.limited for retry in retries):
            queue.breaker.undecided(sent)
            if not after:
                self._pause(queue, sent, now)
        elif any(retry.failing for retry in retries):
            queue.breaker.failed(sent, now, retries[0].reason)
        else:
            queue.breaker.undecided(sent)

    def _pause(self, queue: Queue, sent: float, now: float) -> None:
        """A rate limit without a word of when to come again (Iterable documents no Retry-After).

        A second, as Iterable's limits are per second, and more when that does not help. What was
        under way when the limit was first met says nothing of that.
        """
        if sent >= queue.paused_until:
            queue.limited_in_a_row += 1
        queue.pause(1.0 + backoff(queue.limited_in_a_row, 1.0, 30.0, self._chance()), now)

    def drop(self, ledger: Ledger) -> None:
        """Forget the parcels of a partition that was given away."""
        for queue in self._queues.values():
            queue.ready = deque(p for p in queue.ready if p.ledger is not ledger)
        self._delayed = sorted(entry for entry in self._delayed if entry[2].ledger is not ledger)

    def take(self, now: float) -> tuple[str, list[Parcel]] | None:
        """The next request, or None when none may go now. The endpoint that waited longest is
        first."""
        while self._delayed and self._delayed[0][0] <= now:
            self.ready(heappop(self._delayed)[2], now)
        if self.hold.wait(now) > 0:
            return None
        # Whether a refused key works again is best asked where it was refused.
        asked = self.hold.endpoint if self.hold.reason else None
        free = [
            (name != asked, queue.ready[0].ready_since, name)
            for name, queue in self._queues.items()
            if queue.ready
        ]
        for _, _, name in sorted(free):
            if self._queues[name].wait(now) <= 0:
                self.hold.sent()
                return name, self._queues[name].take(now)
        return None

    def wait(self, now: float) -> float:
        """Seconds until `take` may have something; infinity when only new records can change
        that."""
        ready = min((queue.wait(now) for queue in self._queues.values()), default=NEVER)
        delayed = self._delayed[0][0] - now if self._delayed else NEVER
        return max(0.0, min(delayed, max(ready, self.hold.wait(now))))


def wanted_wait(retry: Retry) -> float:
    """Seconds that the partner asks to wait; 0 when it does not say."""
    return min(retry.after or 0.0, LONGEST_WAIT)


def _well(retry: Retry) -> bool:
    """Whether the partner is well and only wants this in another way, or later."""
    return retry.answer is not None and not (retry.limited or retry.failing)
