"""The courier: a refused key stops a destination, a met rate limit an endpoint; nothing burns."""

from itertools import pairwise

import pytest

from app.courier.circuit import HOLD_PROBE
from app.destination import Endpoint, RateLimit
from app.log.base import Record
from app.outcomes import Answer, Delivered, Hold, Outcome, Retry
from tests.fake_destination import FakeDestination, FakeStep, Gate, Workshop
from tests.fake_destination import work as work

REFUSED = Hold("the key is refused", Answer(401, ""))
LIMITED = Retry("rate_limited", Answer(429, ""), limited=True)
TWO_ENDPOINTS = {"track": Endpoint(), "cart": Endpoint()}


def by_name(record: Record) -> list[FakeStep]:
    """`c…` goes to the cart, everything else is tracked."""
    name = (record.value or b"").decode()
    return [FakeStep(name, "cart" if name.startswith("c") else "track")]


def people(count: int) -> list[str]:
    return [f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(count)]


class Key:
    """A key that works or not, or not at one endpoint."""

    def __init__(self, bad_at: str = "") -> None:
        self.good = False
        self.bad_at = bad_at

    def __call__(self, endpoint: str, names: list[str]) -> list[Outcome]:
        good = self.good or (self.bad_at and endpoint != self.bad_at)
        return [Delivered() if good else REFUSED for _ in names]


@pytest.mark.parametrize("max_attempts", [1, 20])
def test_a_refused_key_stops_the_destination_and_is_asked_every_half_minute(
    work: Workshop, max_attempts: int
) -> None:
    key = Key()
    work.append(*people(30), "ca", "cb")
    destination = FakeDestination(answers=key, map=by_name, endpoints=TWO_ENDPOINTS)
    courier = work.courier(destination, threads=1, max_attempts=max_attempts)
    work.turn_for(600.0, courier, step=0.2)
    assert 19 <= len(destination.requests) <= 21
    gaps = [later - earlier for earlier, later in pairwise(destination.times)]
    assert gaps == pytest.approx([HOLD_PROBE] * len(gaps), abs=0.5)
    assert work.shown()["state"] == "held"
    assert work.shown()["reason"].endswith(": the key is refused")
    key.good = True
    work.drain(courier)
    assert work.shown() == {"delivered": 32, "discarded": 0, "dead": 0, "state": "ok", "reason": ""}
    assert work.letters() == []


def test_an_answer_that_was_under_way_does_not_lift_the_hold(work: Workshop) -> None:
    gate = Gate("slow", then=lambda _, names: [Delivered()] * len(names))

    def answer(endpoint: str, names: list[str]) -> list[Outcome]:
        return gate(endpoint, names) if "slow" in names else [REFUSED] * len(names)

    work.append("slow")
    destination = FakeDestination(answers=answer)
    courier = work.courier(destination, threads=2)
    work.turn(courier, until=lambda: destination.sent == ["slow"])
    work.append(*people(30))
    work.turn(courier, until=lambda: len(destination.requests) == 2)
    work.turn_for(1.0, courier, step=0.1)
    gate.open()
    work.turn_for(HOLD_PROBE - 5.0, courier, step=0.1)
    assert len(destination.requests) == 2
    assert work.shown()["state"] == "held"


def test_the_refused_endpoint_is_the_one_that_is_asked(work: Workshop) -> None:
    key = Key(bad_at="track")
    work.append("aa")
    destination = FakeDestination(answers=key, map=by_name, endpoints=TWO_ENDPOINTS)
    courier = work.courier(destination)
    work.turn(courier, until=lambda: work.shown().get("state") == "held")
    work.append(*(f"c{person}" for person in people(200)))
    work.turn_for(300.0, courier, step=0.5)
    # A success elsewhere would lift the hold, only to meet the same refusal again.
    assert destination.sent == ["aa"] * len(destination.requests)
    assert len(destination.requests) >= 10
    key.good = True
    work.drain(courier)
    assert work.shown()["delivered"] == 201


def test_a_failure_while_probing_neither_lifts_the_hold_nor_ends_the_probing(
    work: Workshop,
) -> None:
    script: list[Outcome] = [REFUSED, Retry("timeout", failing=True), LIMITED, REFUSED]

    def answer(_: str, names: list[str]) -> list[Outcome]:
        return [script.pop(0) if script else Delivered() for _ in names]

    work.append("aa", "ab")
    destination = FakeDestination(answers=answer)
    courier = work.courier(destination, threads=1)
    work.turn_for(29.0, courier, step=0.1)
    assert len(destination.requests) == 1
    work.turn(courier, until=lambda: not script, seconds=60.0, step=0.1)
    work.turn_for(20.0, courier, step=0.1)
    assert work.shown()["state"] == "held"
    work.drain(courier)
    assert work.shown()["delivered"] == 2


def test_a_met_rate_limit_pauses_its_endpoint_only(work: Workshop) -> None:
    limited = Retry("rate_limited", Answer(429, ""), after=5.0, limited=True)
    script: list[Outcome] = [limited]

    def answer(endpoint: str, names: list[str]) -> list[Outcome]:
        return [script.pop() if endpoint == "track" and script else Delivered() for _ in names]

    work.append("aa", "ab", "ca", "cb", "cc")
    destination = FakeDestination(answers=answer, map=by_name, endpoints=TWO_ENDPOINTS)
    started = work.time.now
    work.drain(work.courier(destination, threads=1))
    carts = [r.at - started for r in destination.requests if r.endpoint == "cart"]
    tracks = [r.at - started for r in destination.requests if r.endpoint == "track"]
    assert max(carts) <= 1.0
    assert len(tracks) == 3
    assert min(tracks[1:]) >= 5.0


@pytest.mark.parametrize("max_attempts", [1, 3])
def test_a_met_rate_limit_burns_no_attempt(work: Workshop, max_attempts: int) -> None:
    left = [LIMITED] * 30

    def answer(_: str, names: list[str]) -> list[Outcome]:
        return [left.pop() if left else Delivered() for _ in names]

    work.append("aa", "ab")
    destination = FakeDestination(answers=answer)
    work.drain(work.courier(destination, threads=1, max_attempts=max_attempts), step=0.2)
    assert work.letters() == []
    assert work.shown()["delivered"] == 2
    pauses = [later - earlier for earlier, later in pairwise(destination.times)][:30]
    # No word of when to come again: a second and more, growing to half a minute.
    assert min(pauses) >= 1.0
    assert pauses[:3] == pytest.approx([1.5, 2.0, 3.0], abs=0.3)
    assert max(pauses) <= 17.0


def test_many_requests_over_the_limit_at_once_make_one_pause(work: Workshop) -> None:
    gate = Gate(then=lambda _, names: [LIMITED] * len(names))
    work.append(*people(40))
    destination = FakeDestination(answers=gate)
    courier = work.courier(destination, threads=32)
    work.turn(courier, until=lambda: len(destination.requests) == 32)
    gate.open()
    met = work.time.now
    work.turn(courier, until=lambda: len(destination.requests) > 32)
    assert 1.0 <= destination.times[32] - met <= 2.5


def test_a_batch_over_the_limit_goes_again_whole_and_in_order(work: Workshop) -> None:
    script: list[Outcome] = [Retry("rate_limited", Answer(429, ""), after=2.0, limited=True)]

    def answer(_: str, names: list[str]) -> list[Outcome]:
        return [script.pop()] * len(names) if script else [Delivered()] * len(names)

    work.append(*people(12))
    endpoints = {"track": Endpoint(batch_size=10, linger=0.5)}
    destination = FakeDestination(answers=answer, endpoints=endpoints)
    work.drain(work.courier(destination, threads=1))
    assert destination.requests[0].names == destination.requests[1].names
    assert destination.times[1] - destination.times[0] >= 2.0


def test_requests_keep_to_the_published_rate(work: Workshop) -> None:
    work.append(*people(120))
    destination = FakeDestination(endpoints={"track": Endpoint((RateLimit(10),))})
    work.drain(work.courier(destination))
    times = destination.times
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[10:], strict=False))
    assert times[-1] - times[0] <= 120 / 7.5


WAITING: dict[str, tuple[list[Outcome], Endpoint]] = {
    "nothing to do": ([], Endpoint()),
    "held": ([REFUSED], Endpoint()),
    "failing": ([Retry("http_503", failing=True)] * 15, Endpoint()),
    "paused": ([Retry("rate_limited", after=60.0, limited=True)], Endpoint()),
    "limited": ([], Endpoint((RateLimit(0.01),))),
    "lingering": ([], Endpoint(batch_size=10, linger=60.0)),
    "backing off": ([Retry("unknown_user", after=60.0)], Endpoint()),
}


@pytest.mark.parametrize("state", WAITING)
def test_a_courier_that_has_to_wait_sleeps(work: Workshop, state: str) -> None:
    script, endpoint = WAITING[state]
    script = list(script)

    def answer(_: str, names: list[str]) -> list[Outcome]:
        return [script.pop() if script else Delivered() for _ in names]

    courier = work.courier(FakeDestination(answers=answer, endpoints={"track": endpoint}))
    if state != "nothing to do":
        work.append("a", "b")
    for _ in range(100):
        courier.turn()
    turns, began = 0, work.time.now
    while turns < 500 and work.time.now < began + 10.0:
        courier.turn()
        turns += 1
    assert turns <= 200, "more turns than looks for new records"
