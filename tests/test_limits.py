"""Rate limits: no stretch of time sees more than is allowed, and little of it stays unused."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import floor
from random import Random

import pytest

from app.courier.limits import ARRIVAL, Limiter, Pacer, Window, limiters
from app.destination import RateLimit


def saturate(
    limit: RateLimit,
    parts: list[float],
    seconds: float,
    random: Random,
    late: float = 0.0,
    latency: Callable[[], float] = lambda: 0.0,
) -> list[float]:
    """When the partner counts requests if couriers with these parts always have something to send.

    They start at moments of their own and act up to `late` seconds late. An answer takes `latency`,
    and the request arrives at any moment before it, but within ARRIVAL.
    """
    agenda: list[tuple[float, int, Limiter, float | None]] = []
    for number, part in enumerate(parts):
        (limiter,) = limiters([limit])
        start = 1000.0 + random.random()
        limiter.share(part, start)
        agenda.append((start, number, limiter, None))
    heapify(agenda)
    counted: list[float] = []
    while agenda[0][0] < 1000.0 + seconds:
        now, number, limiter, sent = heappop(agenda)
        if sent is not None:
            limiter.answered(sent, now)
            continue
        if limiter.wait(now) <= 0:
            limiter.take(now)
            takes = latency()
            counted.append(now + random.random() * min(takes, ARRIVAL))
            heappush(agenda, (now + takes, -len(counted), limiter, now))
        # Answers may shorten a wait, so it is looked at again now and then.
        pause = min(limiter.wait(now), limit.seconds / 50) + random.random() * late + 1e-9
        heappush(agenda, (now + pause, number, limiter, None))
    return sorted(counted)


def most_within(sent: list[float], seconds: float) -> int:
    """The most requests that any stretch of so many seconds has seen."""
    first = most = 0
    for last, at in enumerate(sent):
        while at - sent[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


SHARES = {
    "one": [1.0],
    "two": [8 / 16, 8 / 16],
    "three": [6 / 16, 5 / 16, 5 / 16],
    "uneven": [13 / 16, 2 / 16, 1 / 16],
    "four": [4 / 16] * 4,
    "five": [4 / 16] + [3 / 16] * 4,
    "sixteen": [1 / 16] * 16,
}


# Couriers that do not talk cannot know whose turn it is when they are more than the requests that a
# second has; each of them then sends one at times.
KEEPABLE = [
    (count, shares)
    for count in (1, 2, 3, 5, 7, 10, 19, 20, 21, 40, 100, 333, 500, 2000)
    for shares, parts in SHARES.items()
    if sum(max(1, floor(part * count)) for part in parts) <= count
]


@pytest.mark.parametrize(("count", "shares"), KEEPABLE)
@pytest.mark.parametrize("late", [0.0, 0.003])
def test_no_second_exceeds_the_limit(count: int, shares: str, late: float) -> None:
    parts = SHARES[shares]
    sent = saturate(RateLimit(count), parts, 6000 / max(count, 200), Random(count), late)
    assert most_within(sent, 1.0) <= count


LATENCIES: dict[str, Callable[[Random], float]] = {
    "quick": lambda random: 0.05,
    "varying": lambda random: random.expovariate(10),
    "slow": lambda random: 2.0,
    "stalling": lambda random: 0.6 if random.random() < 0.02 else 0.02,
}


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize(("count", "shares"), KEEPABLE)
def test_whenever_requests_arrive_no_second_exceeds_the_limit(
    count: int, shares: str, latency: str
) -> None:
    random = Random(count)
    sent = saturate(
        RateLimit(count),
        SHARES[shares],
        3000 / max(count, 100),
        random,
        late=0.003,
        latency=lambda: LATENCIES[latency](random),
    )
    assert most_within(sent, 1.0) <= count


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 20, 100, 500, 2000])
@pytest.mark.parametrize(
    ("latency", "used"), [(0.0, 0.93), (0.05, 0.91), (0.1, 0.87), (0.25, 0.77), (5.0, 0.77)]
)
def test_one_courier_uses_most_of_the_limit(count: int, latency: float, used: float) -> None:
    seconds = 10_000 / max(count, 100)
    sent = saturate(RateLimit(count), [1.0], seconds, Random(count), latency=lambda: latency)
    assert len(sent) >= used * count * (seconds - 2.0)


def test_a_limit_below_one_a_second_is_kept_too() -> None:
    sent = saturate(RateLimit(0.5), [1.0], 100.0, Random(1))
    assert most_within(sent, 2.0) == 1
    assert len(sent) >= 0.75 * 0.5 * 97


def test_after_a_rest_no_burst_exceeds_the_limit() -> None:
    pacer = Pacer(RateLimit(100))
    pacer.share(1.0, 0.0)
    now, sent = 500.0, []
    for _ in range(300):
        now += pacer.wait(now)
        pacer.take(now)
        sent.append(now)
    assert most_within(sent, 1.0) <= 100
    assert sent[4] - sent[0] <= 0.02, "a few may go at once"


def test_a_share_that_changes_hands_stays_within_the_limit() -> None:
    limit = RateLimit(5)
    old, new = Pacer(limit), Pacer(limit)
    old.share(1.0, 0.0)
    sent: list[float] = []
    now = 1000.0
    while now < 1010.0:
        if now >= 1005.0:  # at this moment half of it is the other one's
            if now - 0.001 < 1005.0:
                old.share(0.5, now)
                new.share(0.5, now)
            if new.wait(now) <= 0:
                new.take(now)
                sent.append(now)
        if old.wait(now) <= 0:
            old.take(now)
            sent.append(now)
        now += 0.001
    assert most_within(sent, 1.0) <= 5


@pytest.mark.parametrize("shares", ["one", "two", "three", "sixteen"])
def test_no_window_of_a_long_limit_sees_too_many(shares: str) -> None:
    limit = RateLimit(1000, 86400.0)
    sent = saturate(limit, SHARES[shares], 3.2 * 86400, Random(5), late=5.0)
    assert most_within(sent, 86400.0) <= 1000
    assert len(sent) >= 3 * 0.95 * 1000


def test_a_window_that_shrinks_counts_what_was_sent_before() -> None:
    window = Window(RateLimit(10, 100.0))
    window.share(1.0, 0.0)
    for second in range(10):
        assert window.wait(second) == 0.0
        window.take(second)
    assert window.wait(10.0) == 90.0
    window.share(0.5, 10.0)
    assert window.wait(10.0) == 95.0, "five of the ten must be over"


def test_a_window_without_any_share_says_come_again_later() -> None:
    window = Window(RateLimit(10, 100.0))
    window.share(1 / 16, 0.0)
    assert window.wait(5.0) == 100.0


def test_a_limit_by_the_second_is_paced_and_a_longer_one_counted() -> None:
    kinds = [type(each) for each in limiters([RateLimit(3), RateLimit(1000, 86400.0)])]
    assert kinds == [Pacer, Window]
