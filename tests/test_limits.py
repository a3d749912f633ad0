"""Rate limits: no stretch of time sees more than is allowed, and little of it stays unused."""

from heapq import heapify, heapreplace
from math import floor
from random import Random

import pytest

from app.courier.limits import Limiter, Pacer, Window, limiters
from app.destination import RateLimit


def saturate(
    limit: RateLimit, parts: list[float], seconds: float, random: Random, late: float = 0.0
) -> list[float]:
    """When requests go if couriers with these parts of a limit always have something to send.

    They start at moments of their own and act up to `late` seconds late.
    """
    agenda: list[tuple[float, int, Limiter]] = []
    for number, part in enumerate(parts):
        (limiter,) = limiters([limit])
        start = 1000.0 + random.random()
        limiter.share(part, start)
        agenda.append((start, number, limiter))
    heapify(agenda)
    sent: list[float] = []
    while (now := agenda[0][0]) < 1000.0 + seconds:
        _, number, limiter = agenda[0]
        wait = limiter.wait(now)
        if wait <= 0:
            limiter.take(now)
            sent.append(now)
            wait = limiter.wait(now)
        heapreplace(agenda, (now + wait + random.random() * late + 1e-9, number, limiter))
    return sent


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


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 20, 100, 500, 2000])
def test_one_courier_uses_most_of_the_limit(count: int) -> None:
    seconds = 10_000 / max(count, 100)
    sent = saturate(RateLimit(count), [1.0], seconds, Random(count))
    assert len(sent) >= 0.75 * count * (seconds - 2.0)


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
