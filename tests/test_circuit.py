"""Breaker and hold: when a partner may be called again."""

import math

import pytest

from app.courier.circuit import HOLD_PROBE, PROBE_CAP, TRIP_AFTER, Breaker, Hold


def shut_breaker(chance: float = 0.5) -> Breaker:
    breaker = Breaker(lambda: chance)
    for _ in range(TRIP_AFTER):
        breaker.failed(10.0, 10.0, "http_503")
    return breaker


def test_stays_open_for_fewer_failures_in_a_row_than_it_takes() -> None:
    breaker = Breaker(lambda: 0.5)
    for _ in range(3):
        for _ in range(TRIP_AFTER - 1):
            breaker.failed(10.0, 10.0, "http_503")
        breaker.succeeded()
    assert breaker.wait(10.0) == 0.0
    assert breaker.reason == ""


def test_shuts_after_failures_in_a_row_and_tells_why() -> None:
    breaker = shut_breaker()
    assert breaker.reason == "http_503"
    assert breaker.wait(10.0) == pytest.approx(0.25)
    assert breaker.wait(10.25) == 0.0


def test_lets_one_probe_through_at_a_time() -> None:
    breaker = shut_breaker()
    breaker.sent()
    assert breaker.wait(50.0) == math.inf
    breaker.undecided(50.0)
    assert breaker.wait(50.0) == 0.0


def test_waits_longer_after_every_failed_probe_up_to_a_cap() -> None:
    breaker, now, waits = shut_breaker(chance=0.999), 10.0, []
    for _ in range(10):
        wait = breaker.wait(now)
        waits.append(wait)
        now += wait
        breaker.sent()
        breaker.failed(now, now, "http_503")
    assert waits[:6] == pytest.approx([0.5, 1, 2, 4, 8, 16], rel=0.01)
    assert max(waits) <= PROBE_CAP


def test_failures_that_were_under_way_do_not_count_as_probes() -> None:
    breaker = shut_breaker()
    for _ in range(27):
        breaker.failed(9.9, 10.1, "http_503")
    assert breaker.wait(10.25) == 0.0


def test_an_answer_that_was_under_way_does_not_end_the_probe() -> None:
    breaker = shut_breaker()
    breaker.sent()
    breaker.undecided(9.0)
    assert breaker.wait(99.0) == math.inf


def test_any_success_opens_the_breaker_and_ends_the_series() -> None:
    breaker = shut_breaker()
    breaker.succeeded()
    assert (breaker.wait(10.0), breaker.reason, breaker.successes) == (0.0, "", 1)
    breaker.failed(11.0, 11.0, "http_503")
    assert breaker.wait(11.0) == 0.0


def test_a_hold_is_asked_again_after_half_a_minute() -> None:
    hold = Hold()
    hold.refused(9.0, 10.0, "track", "wrong key")
    assert hold.reason == "track: wrong key"
    assert hold.wait(10.0) == HOLD_PROBE
    assert hold.wait(10.0 + HOLD_PROBE) == 0.0


def test_a_refusal_that_was_under_way_does_not_put_off_the_next_question() -> None:
    hold = Hold()
    hold.refused(9.0, 10.0, "track", "wrong key")
    hold.refused(9.5, 25.0, "cart", "wrong key")
    assert hold.wait(25.0) == HOLD_PROBE - 15.0
    assert hold.endpoint == "track"


def test_only_an_answer_to_a_later_request_lifts_a_hold() -> None:
    hold = Hold()
    hold.refused(9.0, 10.0, "track", "wrong key")
    hold.accepted(9.5)
    assert hold.reason
    hold.accepted(40.0)
    assert (hold.reason, hold.wait(40.0)) == ("", 0.0)
