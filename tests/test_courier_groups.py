"""The courier: several of one group share the partitions, the limits and nothing else."""

import threading
from pathlib import Path

import pytest

from app.courier.courier import GRACE
from app.destination import Endpoint, RateLimit
from app.outcomes import Delivered, Outcome
from tests.fake_destination import ONE_PARTITION, FakeDestination, Gate, workshop


def people(count: int) -> list[str]:
    return [f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(count)]


def test_two_couriers_share_the_records(tmp_path: Path) -> None:
    with workshop(tmp_path) as work:
        one, two = FakeDestination(), FakeDestination()
        couriers = [work.courier(one), work.courier(two)]
        work.turn_for(2.0, *couriers)
        work.append(*(f"{person}{number}" for number in range(3) for person in people(100)))
        work.drain(*couriers)
        assert len(one.sent) + len(two.sent) == 300, "each record once"
        assert min(len(one.sent), len(two.sent)) >= 80
        assert {name[:2] for name in one.sent}.isdisjoint(name[:2] for name in two.sent)
        assert work.shown()["delivered"] == 300


def test_a_partition_is_given_away_only_when_what_is_under_way_has_arrived(tmp_path: Path) -> None:
    arrived: list[str] = []
    gate = Gate(then=lambda _, names: [Delivered()] * len(names))

    def first_partner(endpoint: str, names: list[str]) -> list[Outcome]:
        outcomes = gate(endpoint, names)
        arrived.extend(names)
        return outcomes

    def second_partner(_: str, names: list[str]) -> list[Outcome]:
        arrived.extend(names)
        return [Delivered()] * len(names)

    names = [f"{person}{number}" for number in range(4) for person in people(40)]
    with workshop(tmp_path) as work:
        work.append(*names)
        one = FakeDestination(answers=first_partner)
        two = FakeDestination(answers=second_partner)
        first = work.courier(one, threads=40)
        work.turn(first, until=lambda: len(one.sent) == 40)
        second = work.courier(two)
        work.turn_for(1.0, second, step=0.1)
        assert two.sent == []
        threading.Timer(0.1, gate.open).start()
        work.turn(first, second, until=lambda: two.sent, step=0.1)
        work.drain(first, second)
        assert sorted(arrived) == sorted(names), "none twice, none lost"
        for person in people(40):
            own = [name for name in arrived if name[:2] == person]
            assert own == [f"{person}{number}" for number in range(4)]
        assert work.shown()["delivered"] == len(names)


def test_an_answer_that_comes_after_the_grace_is_the_new_owners_business(tmp_path: Path) -> None:
    gate = Gate()
    with workshop(tmp_path) as work:
        work.append(*people(40))
        one, two = FakeDestination(answers=gate), FakeDestination()
        first = work.courier(one, threads=40)
        work.turn(first, until=lambda: len(one.sent) == 40)
        second = work.courier(two)
        work.turn_for(1.0, second, step=0.1)
        giving = threading.Thread(target=first.turn)
        giving.start()
        while giving.is_alive():  # nothing arrives however long it waits
            work.time.sleep(GRACE / 10)
            giving.join(0.02)
        gate.open()
        work.drain(first, second)
        assert two.sent, "what was given away is delivered by the other"
        assert work.shown()["delivered"] == 40, "and counted once"


def test_a_leaving_couriers_partitions_go_on_where_it_stopped(tmp_path: Path) -> None:
    names = [f"{person}{number}" for number in range(4) for person in people(60)]
    with workshop(tmp_path) as work:
        one, two = FakeDestination(), FakeDestination()
        limited = {"track": Endpoint((RateLimit(100),))}
        one.endpoints = two.endpoints = limited
        first, second = work.courier(one), work.courier(two)
        work.turn_for(1.5, first, second)
        work.append(*names)
        work.turn(first, second, until=lambda: len(one.sent) >= 30 and len(two.sent) >= 30)
        work.leave(first)
        work.drain(second)
        assert sorted(one.sent + two.sent) == sorted(names)
        assert work.shown()["delivered"] == len(names), "the counters move with the partitions"
        for person in people(60):
            own = [n for n in one.sent if n[:2] == person]
            own += [n for n in two.sent if n[:2] == person]
            assert own == [f"{person}{number}" for number in range(4)]


def test_a_killed_couriers_partitions_pass_on(tmp_path: Path) -> None:
    names = people(100)
    with workshop(tmp_path) as work:
        one, two = FakeDestination(answers=Gate()), FakeDestination()
        first, second = work.courier(one), work.courier(two)
        work.turn_for(1.5, first, second)
        work.append(*names)
        work.turn(first, second, until=lambda: one.sent and two.sent)
        work.kill(first)
        work.drain(second)
        assert sorted(two.sent) == names


@pytest.mark.parametrize("couriers", [1, 2, 3])
def test_all_couriers_together_keep_to_the_limit_also_while_they_come_and_go(
    tmp_path: Path, couriers: int
) -> None:
    limit = 40
    with workshop(tmp_path) as work:
        destinations = [
            FakeDestination(endpoints={"track": Endpoint((RateLimit(limit),))})
            for _ in range(couriers)
        ]
        work.append(*people(600))
        running = []
        for destination in destinations:  # they join one after another, under full load
            running.append(work.courier(destination))
            work.turn_for(2.0, *running)
        if couriers > 1:
            work.leave(running.pop(0))
        work.drain(*running)
        times = sorted(at for destination in destinations for at in destination.times)
        assert len(times) == 600
        seconds = [times[i + limit] - times[i] for i in range(len(times) - limit)]
        assert min(seconds) >= 1.0, f"more than {limit} in {min(seconds):.3f} s"


def test_a_courier_without_a_partition_waits_for_one(tmp_path: Path) -> None:
    with workshop(tmp_path, ONE_PARTITION) as work:
        one, two = FakeDestination(), FakeDestination()
        first, second = work.courier(one), work.courier(two)
        work.turn_for(1.0, first, second)
        work.append("a1")
        work.drain(first, second)
        assert (one.sent, two.sent) == (["a1"], [])
        work.leave(first)
        work.append("a2")
        work.drain(second)
        assert two.sent == ["a2"]
