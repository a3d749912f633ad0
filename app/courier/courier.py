"""The courier: one loop for both directions.

Reads a topic, maps each record, delivers it in its person's order, commits what is finished. One
thread owns all state; the delivery threads do nothing but wait for the partner's answers.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from random import random

from app import deadletters
from app.courier.crew import Answered, Crew
from app.courier.dispatcher import Dispatcher, wanted_wait
from app.courier.ledger import RECENT_IDS, Ledger
from app.courier.letters import Letters
from app.courier.parcel import Lanes, Parcel
from app.courier.receipts import Receipts
from app.destination import Destination
from app.log.base import Commit, Log, LogUnavailable, Record
from app.outcomes import Dead, Delivered, Discarded, Hold, Outcome, Retry, Step, backoff

logger = logging.getLogger("bridge.courier")

# Records in memory at once: enough to keep every thread and batch busy, small enough to stay light.
UNFINISHED = 2_000
UNFINISHED_BYTES = 32 * 1024 * 1024
# A stuck record does not stop its neighbours, whose offsets it only keeps from being committed.
POLL_EVERY = 0.005
IDLE = 0.1
COMMIT_EVERY = 0.1
RETRY_BASE = 0.5
RETRY_CAP = 60.0
# How long a courier that is stopped, or loses a partition, waits for the requests under way.
GRACE = 20.0


class Courier:
    """Delivers one topic to one destination. `clock`, `now` and `chance` stand in for time and
    luck.

    `clock` is monotonic, `now` is Unix time (both in seconds), `chance` draws from [0, 1).
    """

    def __init__(
        self,
        destination: Destination,
        log: Log,
        *,
        threads: int,
        max_attempts: int,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random,
    ) -> None:
        self._destination = destination
        self._log = log
        self._max_attempts = max_attempts
        self._clock = clock
        self._now = now
        self._chance = chance
        self._consumer = log.consume(destination.topic, destination.group, self._revoked)
        self._dispatcher = Dispatcher(destination.endpoints, chance)
        self._lanes = Lanes()
        self._ledgers: dict[int, Ledger] = {}
        self._committed: dict[int, Commit] = {}
        self._letters = Letters(log, destination.group)
        self._receipts = Receipts(log, destination.direction)
        self._polled: deque[Record] = deque()
        self._opening: deque[Parcel] = deque()
        self._crew = Crew(destination, threads, clock)
        self._polled_at = self._committed_at = 0.0
        self._state = ("ok", "")
        batch = max((e.batch_size for e in destination.endpoints.values()), default=1)
        self._window = max(UNFINISHED, 8 * batch)

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set; then finish what is under way, for GRACE seconds at most."""
        while not stop.is_set():
            try:
                self.turn()
            except LogUnavailable as error:
                logger.warning("%s: the log is unavailable: %s", self._destination.group, error)
                stop.wait(1.0)
        self._consumer.close()
        self._crew.close()
        self._destination.close()

    def turn(self) -> None:
        """One turn of the loop: read, send, settle, commit."""
        self._read()
        self._dispatch()
        self._settle(self._patience())
        self._bury()
        self._commit_if_due()
        self._tell_state()

    # Reading

    def _read(self) -> None:
        now = self._clock()
        idle = not self._crew.busy
        if not idle and now - self._polled_at < POLL_EVERY:
            return
        timeout = min(IDLE, self._dispatcher.wait(now)) if idle else 0.0
        # What was polled is here for good: it must outlast a log that fails before it is begun.
        if not self._polled:
            self._polled.extend(self._consumer.poll(self._room(), timeout))
        self._polled_at = self._clock()
        if self._ledgers.keys() != self._consumer.assignment:
            self._assigned()
        while self._polled:
            self._begin(self._polled.popleft())
        self._open_all()

    def _room(self) -> int:
        if self._lanes.bytes >= UNFINISHED_BYTES:
            return 0
        return max(0, self._window - self._lanes.parcels)

    def _assigned(self) -> None:
        for partition in self._consumer.assignment - self._ledgers.keys():
            start = self._consumer.committed(partition)
            ledger = Ledger(partition, start)
            if start is not None:
                self._remember(ledger, start.offset)
                self._committed[partition] = start
            self._ledgers[partition] = ledger
        self._share()

    def _share(self) -> None:
        if self._ledgers:
            part = len(self._ledgers) / self._consumer.partitions
            self._dispatcher.share(part, self._clock())

    def _remember(self, ledger: Ledger, until: int) -> None:
        """Rebuild the window of recent message ids from what the partition has delivered before."""
        since = max(0, until - RECENT_IDS)
        for record in self._log.read(self._destination.topic, ledger.partition, since, until):
            ledger.recent.add(record)

    def _begin(self, record: Record) -> None:
        ledger = self._ledgers[record.partition]
        ledger.begin(record)
        fresh = ledger.recent.add(record)
        repeat = not fresh and deadletters.REPLAY_OF not in record.headers
        parcel = Parcel(record, ledger, repeat=repeat)
        if self._lanes.enter(parcel):
            self._opening.append(parcel)

    def _open_all(self) -> None:
        while self._opening:
            self._open(self._opening.popleft())

    def _open(self, parcel: Parcel) -> None:
        """The parcel is its person's next: map it, and send it or settle it at once."""
        prepared = Discarded("repeat") if parcel.repeat else self._prepare(parcel.record)
        if isinstance(prepared, Discarded):
            self._finish(parcel, "discarded", prepared.reason)
        elif isinstance(prepared, Dead):
            self._die(parcel, prepared)
        elif not prepared:
            self._finish(parcel, None)
        else:
            parcel.steps = list(prepared)
            self._dispatcher.ready(parcel, self._clock())

    def _prepare(self, record: Record) -> Sequence[Step] | Discarded | Dead:
        if record.headers.get(deadletters.REPLAY_FOR) not in (None, self._destination.group):
            return ()
        try:
            return self._destination.prepare(record)
        except Exception:
            # A defect of ours costs this one record, which can be replayed, and stops nobody else.
            logger.exception("%s/%s cannot be mapped", record.partition, record.offset)
            return Dead("mapping_failed")

    # Sending

    def _dispatch(self) -> None:
        while self._crew.free:
            now = self._clock()
            request = self._dispatcher.take(now)
            if request is None:
                return
            endpoint, parcels = request
            health = self._dispatcher.breaker(endpoint).successes
            for parcel in parcels:
                parcel.sent(health)
            self._crew.send(endpoint, parcels, now)

    def _patience(self) -> float:
        """Seconds to wait for answers before there is something else to do."""
        if not self._crew.busy:
            return 0.0
        if not self._crew.free:
            return IDLE
        return min(self._dispatcher.wait(self._clock()), POLL_EVERY if self._room() else IDLE)

    # Settling

    def _settle(self, timeout: float) -> None:
        """Take in the answers that are there, waiting up to `timeout` seconds for the first."""
        for answered in self._crew.answers(timeout):
            self._take_in(answered)
        self._open_all()

    def _take_in(self, answered: Answered) -> None:
        now = self._clock()
        self._dispatcher.answered(answered.endpoint, answered.sent, answered.at)
        self._dispatcher.learn(answered.endpoint, answered.outcomes, answered.sent, now)
        company = len(answered.parcels)
        # From last to first: whoever is put back at the head of the queue keeps their order.
        pairs = zip(reversed(answered.parcels), reversed(answered.outcomes), strict=True)
        for parcel, outcome in pairs:
            parcel.ledger.in_flight -= 1
            parcel.took = answered.took
            if not parcel.ledger.revoked:
                self._apply(parcel, outcome, company, now)

    def _apply(self, parcel: Parcel, outcome: Outcome, company: int, now: float) -> None:
        match outcome:
            case Delivered():
                self._delivered(parcel, outcome, now)
            case Discarded():
                self._finish(parcel, "discarded", outcome.reason)
            case Dead():
                self._die(parcel, outcome)
            case Hold():
                self._dispatcher.ready(parcel, now, first=True)
            case Retry():
                self._retry(parcel, outcome, company, now)

    def _delivered(self, parcel: Parcel, outcome: Delivered, now: float) -> None:
        parcel.answer = outcome.answer
        parcel.refused |= outcome.refused
        if outcome.notice:
            parcel.notice = outcome.notice
        if parcel.at + 1 < len(parcel.steps):
            parcel.next_step()
            self._dispatcher.ready(parcel, now, first=True)
        elif parcel.refused:
            details = {"fields": parcel.refused, "request": parcel.step.describe()}
            self._letters.write(parcel, "field_refused", "delivered", details, self._now())
        else:
            self._finish(parcel, "delivered", parcel.notice)

    def _retry(self, parcel: Parcel, outcome: Retry, company: int, now: float) -> None:
        parcel.answer = outcome.answer
        if outcome.instead is not None:
            parcel.steps[parcel.at] = outcome.instead
        if outcome.limited:
            self._dispatcher.ready(parcel, now, first=True)
            return
        if outcome.split and company > 1:
            parcel.company = company // 2
            self._dispatcher.ready(parcel, now, first=True)
            return
        if outcome.after == 0 and not (outcome.split or outcome.failing):
            self._dispatcher.ready(parcel, now, first=True)
            return
        health = self._dispatcher.breaker(parcel.step.endpoint).successes
        parcel.failed(outcome, company, health)
        # In company it may be innocent of the failure; `failed` sees to it that it is alone soon.
        innocent = outcome.failing and company > 1
        if parcel.attempts >= self._max_attempts and not innocent:
            reason = "attempts_exhausted" if outcome.failing else outcome.reason
            self._die(parcel, Dead(reason, outcome.answer))
        elif outcome.failing and self._dispatcher.breaker(parcel.step.endpoint).reason:
            # The next probe is another person's record: a poisonous one cannot keep it shut.
            self._dispatcher.ready(parcel, now)
        else:
            wait = backoff(max(1, parcel.attempts), RETRY_BASE, RETRY_CAP, self._chance())
            self._dispatcher.delay(parcel, now + max(wait, wanted_wait(outcome)))

    # Finishing

    def _finish(self, parcel: Parcel, verdict: str | None, reason: str | None = None) -> None:
        """The record is done with; a `verdict` of None: this group had nothing to do for it."""
        parcel.ledger.finish(parcel.record.offset, verdict, parcel.notice)
        if verdict:
            self._receipts.add(parcel, verdict, reason, self._now())
        follower = self._lanes.leave(parcel)
        if follower:
            self._opening.append(follower)

    def _die(self, parcel: Parcel, outcome: Dead) -> None:
        parcel.answer = outcome.answer
        details = {"request": parcel.step.describe() if parcel.steps else None}
        self._letters.write(parcel, outcome.reason, "dead", details, self._now())

    def _bury(self) -> None:
        """Finish the records whose dead letters are durable now. Raises LogUnavailable."""
        for letter in self._letters.store():
            if not letter.parcel.ledger.revoked:
                self._finish(letter.parcel, letter.verdict, letter.reason)
        self._open_all()

    # Committing, and giving partitions away

    def _commit_if_due(self) -> None:
        now = self._clock()
        if now - self._committed_at >= COMMIT_EVERY:
            self._committed_at = now
            self._commit(self._ledgers.values())

    def _commit(self, ledgers: Iterable[Ledger]) -> None:
        self._receipts.store()
        state, reason = self._dispatcher.state
        commits = {ledger.partition: ledger.commit(state, reason) for ledger in ledgers}
        news = {p: c for p, c in commits.items() if self._committed.get(p) != c}
        if news:
            self._consumer.commit(news)
            self._committed |= news

    def _revoked(self, partitions: frozenset[int]) -> None:
        """Partitions go to others: what is under way arrives first, to keep the order."""
        leaving = [self._ledgers.pop(p) for p in partitions if p in self._ledgers]
        for ledger in leaving:
            self._dispatcher.drop(ledger)
        deadline = self._clock() + GRACE
        while any(ledger.in_flight for ledger in leaving) and self._clock() < deadline:
            self._settle(IDLE)
            for ledger in leaving:
                self._dispatcher.drop(ledger)
        try:
            self._bury()
            self._commit(leaving)
        except LogUnavailable as error:
            logger.warning("could not commit what is given away (it will be repeated): %s", error)
        for ledger in leaving:
            self._forget(ledger)
        self._share()

    def _forget(self, ledger: Ledger) -> None:
        ledger.revoked = True
        self._committed.pop(ledger.partition, None)
        self._dispatcher.drop(ledger)
        self._letters.drop(ledger)
        self._opening = deque(p for p in self._opening if p.ledger is not ledger)
        self._lanes.drop(ledger)

    def _tell_state(self) -> None:
        state = self._dispatcher.state
        if state != self._state:
            self._state = state
            say = logger.info if state[0] == "ok" else logger.warning
            say("%s: %s %s", self._destination.group, *state)
