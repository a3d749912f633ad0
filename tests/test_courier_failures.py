"""The courier: a partner that fails is probed, a record that fails alone dies alone."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from app.courier.circuit import TRIP_AFTER
from app.destination import Endpoint
from app.log.base import SEGMENT_CALLS, NewRecord
from app.outcomes import Answer, Delivered, Outcome, Retry
from tests.fake_destination import FakeDestination, Gate, Script, Workshop, one_step
from tests.fake_destination import work as work

DOWN = Retry("http_503", Answer(503, ""), failing=True)


class Partner:
    """Up or down as the test says; `poison` are records that it always fails at."""

    def __init__(self, *poison: str) -> None:
        self.up = True
        self.poison = poison

    def __call__(self, _: str, names: list[str]) -> list[Outcome]:
        well = self.up and not set(names) & set(self.poison)
        return [Delivered() if well else DOWN for _ in names]


def waits(destination: FakeDestination) -> list[float]:
    return [later - earlier for earlier, later in pairwise(destination.times)]


def people(count: int) -> list[str]:
    return [f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(count)]


def test_five_failures_in_a_row_stop_the_traffic_and_probes_follow(work: Workshop) -> None:
    partner = Partner()
    partner.up = False
    work.append(*people(20))
    destination = FakeDestination(answers=partner)
    courier = work.courier(destination, threads=1)
    work.turn_for(60.0, courier, step=0.01)
    # The breaker opens; chance 0.5 makes the waits 0.25, 0.5, 1, 2, 4, 8, then 15 s at most.
    assert waits(destination)[: TRIP_AFTER - 1] == pytest.approx([0.0] * 4, abs=0.1)
    growing = waits(destination)[TRIP_AFTER - 1 :]
    assert growing[:8] == pytest.approx([0.25, 0.5, 1, 2, 4, 8, 15, 15], rel=0.1, abs=0.05)
    assert work.shown()["state"] == "failing"
    assert work.shown()["reason"] == "track: http_503"


def test_the_waits_between_probes_are_drawn_by_chance(work: Workshop) -> None:
    partner = Partner()
    partner.up = False
    work.append(*people(20))
    work.chance = 0.9
    destination = FakeDestination(answers=partner)
    work.turn_for(20.0, work.courier(destination, threads=1), step=0.01)
    assert waits(destination)[TRIP_AFTER - 1 :][:4] == pytest.approx(
        [0.45, 0.9, 1.8, 3.6], rel=0.1, abs=0.05
    )


def test_many_requests_that_fail_at_once_count_as_one_failed_probe(work: Workshop) -> None:
    gate = Gate(then=lambda _, names: [DOWN] * len(names))
    work.append(*people(40))
    destination = FakeDestination(answers=gate)
    courier = work.courier(destination, threads=32)
    work.turn(courier, until=lambda: len(destination.requests) == 32)
    gate.open()
    failed = work.time.now
    work.turn(courier, until=lambda: len(destination.requests) > 32)
    # Not the half minute that 32 failures of probes, one after another, would have earned.
    assert destination.times[32] - failed <= 1.0


def test_a_partner_that_is_well_again_gets_the_whole_backlog_in_order(work: Workshop) -> None:
    partner = Partner()
    partner.up = False
    names = [f"{person}{number}" for number in range(3) for person in people(30)]
    work.append(*names)
    destination = FakeDestination(answers=partner)
    courier = work.courier(destination)
    work.turn_for(120.0, courier, step=0.1)
    assert len(destination.requests) < 30, "it is probed, not hammered"
    failures = len(destination.requests)
    partner.up = True
    began = work.time.now
    work.drain(courier)
    assert destination.times[-1] - began <= 16.0, "one probe later everything flows"
    delivered = destination.sent[failures:]
    assert len(delivered) == 90
    for person in people(30):
        assert [n for n in delivered if n[:2] == person] == [f"{person}{n}" for n in range(3)]
    assert work.shown()["state"] == "ok"


def test_the_next_probe_is_another_persons_record(work: Workshop) -> None:
    partner = Partner()
    partner.up = False
    work.append(*people(9))
    destination = FakeDestination(answers=partner)
    work.turn(
        work.courier(destination, threads=1), until=lambda: len(destination.sent) == 9, step=0.05
    )
    assert sorted(destination.sent[TRIP_AFTER - 1 :]) == sorted(set(destination.sent[4:]))


@pytest.mark.parametrize("max_attempts", [1, 20])
def test_an_outage_of_any_length_costs_no_record(work: Workshop, max_attempts: int) -> None:
    partner = Partner()
    partner.up = False
    work.append(*people(10))
    destination = FakeDestination(answers=partner)
    courier = work.courier(destination, max_attempts=max_attempts)
    work.turn_for(12 * 3600.0, courier, step=20.0)
    assert len(destination.requests) > 500
    partner.up = True
    work.drain(courier, step=1.0)
    assert work.letters() == []
    assert work.shown()["delivered"] == 10


def keep_up_traffic(work: Workshop, done: Any) -> Any:
    """A condition for `turn` that also stores a call of somebody else each time."""

    def check() -> Any:
        work.log.append(SEGMENT_CALLS, [NewRecord(f"other{work.time.now}", b"traffic", {})])
        return done()

    return check


def test_a_poisonous_record_dies_after_its_attempts_and_stops_nobody(work: Workshop) -> None:
    destination = FakeDestination(answers=Partner("poison1"))
    work.append("poison1", "poison2", *people(50))
    courier = work.courier(destination, max_attempts=6)
    check = keep_up_traffic(work, lambda: "poison2" in destination.sent)
    work.turn(courier, until=check, seconds=600.0, step=0.5)
    # The first failure does not count when nobody else had succeeded yet.
    tries = destination.sent.count("poison1")
    assert tries in (6, 7)
    (letter,) = work.letters()
    assert letter["reason"] == "attempts_exhausted"
    assert letter["attempts"] == tries
    assert letter["answer"] == {"status": 503, "body": ""}
    assert letter["request"] == {"name": "poison1"}
    work.drain(courier)
    assert set(people(50)) <= set(destination.sent)


def test_failures_speak_against_a_record_only_while_others_succeed(work: Workshop) -> None:
    partner = Partner("poison1")
    destination = FakeDestination(answers=partner)
    work.append("poison1")
    courier = work.courier(destination, max_attempts=3)
    work.turn_for(600.0, courier, step=1.0)
    assert work.letters() == [], "nobody else was there: it could be an outage"
    assert destination.sent.count("poison1") > 10
    check = keep_up_traffic(work, work.letters)
    work.turn(courier, until=check, seconds=600.0, step=1.0)
    assert [letter["key"] for letter in work.letters()] == ["poison"]


def test_failures_at_one_endpoint_say_nothing_of_another(work: Workshop) -> None:
    def track_is_down(endpoint: str, names: list[str]) -> list[Outcome]:
        return [DOWN if endpoint == "track" else Delivered()] * len(names)

    def by_name(record):
        (step,) = one_step(record)
        return [type(step)(step.name, "cart" if step.name.startswith("cart") else "track")]

    work.append("a", "b", *(f"cart{c}" for c in people(30)))
    destination = FakeDestination(
        answers=track_is_down, map=by_name, endpoints={"track": Endpoint(), "cart": Endpoint()}
    )
    courier = work.courier(destination, max_attempts=2)
    work.turn(courier, until=lambda: work.shown().get("delivered") == 30)
    work.turn_for(300.0, courier, step=1.0)
    assert work.letters() == []
    assert work.waiting() > 0


def test_a_record_refused_for_now_is_tried_again_with_growing_waits_and_dies(
    work: Workshop,
) -> None:
    later = Retry("unknown_user", Answer(400, ""))
    work.append("a")
    destination = FakeDestination(answers=lambda _, names: [later] * len(names))
    work.drain(work.courier(destination, max_attempts=5))
    assert waits(destination) == pytest.approx([0.25, 0.5, 1.0, 2.0], rel=0.1, abs=0.05)
    (letter,) = work.letters()
    assert (letter["reason"], letter["attempts"]) == ("unknown_user", 5)


@pytest.mark.parametrize("outcome", [Retry("busy", after=7.0), Retry("http_503", after=7.0)])
def test_a_record_waits_as_long_as_the_partner_asks(work: Workshop, outcome: Retry) -> None:
    work.append("a")
    destination = FakeDestination(answers=Script(a=[outcome]))
    work.drain(work.courier(destination))
    assert waits(destination) == pytest.approx([7.0], abs=0.2)


def test_a_failing_partner_that_names_a_time_is_left_alone_until_then(work: Workshop) -> None:
    maintenance = Retry("http_503", Answer(503, ""), after=120.0, failing=True)
    script = Script(aa=[maintenance])
    work.append("aa")
    destination = FakeDestination(answers=script)
    courier = work.courier(destination)
    work.turn(courier, until=lambda: destination.sent)
    work.turn_for(1.0, courier)
    work.append("ab", "ac")
    work.drain(courier)
    assert destination.times[1] - destination.times[0] >= 120.0
    assert sorted(destination.sent[1:]) == ["aa", "ab", "ac"]


def test_a_wait_that_cannot_be_meant_does_not_stop_a_record_for_ever(work: Workshop) -> None:
    work.append("a")
    destination = FakeDestination(answers=Script(a=[Retry("busy", after=1.7e9)]))
    work.drain(work.courier(destination), step=60.0)
    assert waits(destination)[0] <= 3700.0


def test_a_failing_partner_that_says_no_wait_is_not_hammered(work: Workshop) -> None:
    at_once = Retry("http_503", Answer(503, ""), after=0.0, failing=True)

    def answer(_: str, names: list[str]) -> list[Outcome]:
        return [at_once if name == "poison1" else Delivered() for name in names]

    work.append("poison1")
    destination = FakeDestination(answers=answer)
    courier = work.courier(destination, max_attempts=6)
    work.turn(courier, until=keep_up_traffic(work, work.letters), seconds=600.0, step=0.5)
    assert destination.sent.count("poison1") in (6, 7)


def test_a_defect_in_deliver_costs_one_record_and_stops_no_thread(
    work: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(_: str, names: Sequence[str]) -> list[Outcome]:
        if "bad" in names:
            raise RuntimeError("a defect")
        return [Delivered()] * len(names)

    work.append("bad", *people(20))
    courier = work.courier(FakeDestination(answers=defect), threads=2, max_attempts=6)
    work.drain(courier)
    assert work.shown()["delivered"] == 20
    assert [letter["reason"] for letter in work.letters()] == ["internal_error"]
    assert caplog.text.count("delivery failed unexpectedly") == 6


def test_a_defect_in_prepare_costs_one_record(
    work: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(record):
        if record.key == "bad":
            raise RuntimeError("a defect")
        return one_step(record)

    work.append("bad1", "good1")
    destination = FakeDestination(map=defect)
    work.drain(work.courier(destination))
    assert destination.sent == ["good1"]
    (letter,) = work.letters()
    assert (letter["reason"], letter["body"], letter["request"]) == ("mapping_failed", "bad1", None)
    assert "cannot be mapped" in caplog.text
