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

    def share(self, part: float) -> None:
        """`part` (0 to 1) of every rate limit is ours from now on."""
        for queue in self._queues.values():
            for limiter in queue.limiters:
                limiter.share(part)

    def ready(self, parcel: Parcel, now: float, first: bool = False) -> None:
        """The parcel may go now; `first` puts it before the others of its endpoint."""
        parcel.ready_since = now
        queue = self._queues[parcel.step.endpoint].ready
        if first:
            queue.appendleft(parcel)
        else:
            queue.append(parcel)

    def delay(self, parcel: Parcel, until: float) -> None:
        """The parcel may go from `until` on."""
        heappush(self._delayed, (until, next(self._order), parcel))

    def learn(self, endpoint: str, outcomes: Sequence[Outcome], now: float) -> None:
        """Take from the answer to one request what it says of the partner's health."""
        queue = self._queues[endpoint]
        refused = next((o for o in outcomes if isinstance(o, Refused)), None)
        retries = [o for o in outcomes if isinstance(o, Retry)]
        if refused:
            self.hold.refused(now, f"{endpoint}: {refused.reason}")
            queue.breaker.undecided()
        elif len(retries) == len(outcomes) and any(o.limited for o in retries):
            self._pause(queue, max((o.after or 0.0 for o in retries), default=0.0), now)
        elif len(retries) == len(outcomes) and any(o.failing for o in retries):
            self.hold.undecided()
            queue.breaker.failed(now, retries[0].reason)
        else:
            self.hold.open()
            queue.breaker.succeeded()
            queue.limited_in_a_row = 0

    def _pause(self, queue: Queue, after: float, now: float) -> None:
        """The rate limit was met: no request at this endpoint for as long as the partner says.

        Where it does not say (Iterable documents no Retry-After): a second, as its limits are per
        second, and more when that does not help.
        """
        self.hold.undecided()
        queue.breaker.undecided()
        queue.limited_in_a_row += 1
        wait = after or 1.0 + backoff(queue.limited_in_a_row, 1.0, 30.0, self._chance())
        queue.paused_until = max(queue.paused_until, now + wait)

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
        free = [(q.ready[0].ready_since, name) for name, q in self._queues.items() if q.ready]
        for _, name in sorted(free):
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
