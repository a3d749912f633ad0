"""The courier: one person's records in order, thousands of persons side by side."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from app.destination import Endpoint
from app.log.base import Record
from app.outcomes import Dead, Delivered, Discarded, Hold, Outcome, Retry
from tests.fake_destination import FakeDestination, FakeStep, Gate, Script, Workshop, workshop
from tests.fake_destination import work as work


def of_person(names: Sequence[str], person: str) -> list[str]:
    return [name for name in names if name.rstrip("0123456789") == person]


def test_delivers_every_person_in_order(tmp_path: Path) -> None:
    people = [f"{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(300)]
    with workshop(tmp_path) as work:
        work.append(*(f"{person}{number}" for number in range(5) for person in people))
        destination = FakeDestination()
        work.drain(work.courier(destination, threads=16))
        assert len(destination.sent) == 1500
        for person in people:
            assert of_person(destination.sent, person) == [f"{person}{n}" for n in range(5)]


def test_different_persons_are_under_way_at_once(work: Workshop) -> None:
    together = threading.Barrier(8)

    def wait_for_all(_: str, names: list[str]) -> list[Outcome]:
        together.wait(30.0)  # breaks unless eight requests are under way at once
        return [Delivered()] * len(names)

    work.append(*"abcdefgh")
    destination = FakeDestination(answers=wait_for_all)
    work.drain(work.courier(destination, threads=8))
    assert sorted(destination.sent) == list("abcdefgh")


def test_one_persons_records_are_never_under_way_at_once(work: Workshop) -> None:
    busy = threading.Semaphore(1)

    def alone(_: str, names: list[str]) -> list[Outcome]:
        assert busy.acquire(blocking=False), "two at once"
        threading.Event().wait(0.001)  # the partner needs a moment, in which another could come
        busy.release()
        return [Delivered()] * len(names)

    names = [f"anna{number}" for number in range(50)]
    work.append(*names)
    destination = FakeDestination(answers=alone)
    work.drain(work.courier(destination, threads=8))
    assert destination.sent == names
    assert work.shown()["delivered"] == 50


def test_a_persons_next_record_waits_for_the_retries_of_the_one_before(work: Workshop) -> None:
    work.append("anna1", "anna2", "ben1", "ben2")
    script = Script(anna1=[Retry("locked"), Retry("http_500", failing=True), Retry("locked")])
    destination = FakeDestination(answers=script)
    work.drain(work.courier(destination))
    assert of_person(destination.sent, "anna") == ["anna1"] * 4 + ["anna2"]
    assert of_person(destination.sent, "ben") == ["ben1", "ben2"]


def two_steps(record: Record) -> list[FakeStep]:
    name = (record.value or b"").decode()
    return [FakeStep(f"{name}/profile", "profile"), FakeStep(f"{name}/event", "event")]


TWO_ENDPOINTS = {"profile": Endpoint(), "event": Endpoint()}


def test_a_record_of_several_steps_takes_them_one_after_another(work: Workshop) -> None:
    work.append("a1", "a2", "b1")
    script = Script(**{"a1/event": [Retry("locked"), Retry("locked")]})
    destination = FakeDestination(answers=script, map=two_steps, endpoints=TWO_ENDPOINTS)
    work.drain(work.courier(destination))
    assert [name for name in destination.sent if name.startswith("a")] == [
        "a1/profile",
        "a1/event",
        "a1/event",
        "a1/event",
        "a2/profile",
        "a2/event",
    ]
    assert work.shown()["delivered"] == 3


def test_a_persons_records_keep_their_order_across_endpoints(work: Workshop) -> None:
    def alternate(record: Record) -> list[FakeStep]:
        name = (record.value or b"").decode()
        return [FakeStep(name, "profile" if int(name[-1]) % 2 else "event")]

    gate = Gate("anna1")
    work.append("anna1", "anna2", "ben2")
    destination = FakeDestination(answers=gate, map=alternate, endpoints=TWO_ENDPOINTS)
    courier = work.courier(destination)
    work.turn(courier, until=lambda: "ben2" in destination.sent)
    work.turn_for(1.0, courier, step=0.1)
    assert "anna2" not in destination.sent
    gate.open()
    work.drain(courier)
    assert destination.sent[-1] == "anna2"


def test_a_straggler_holds_nobody_else_up(work: Workshop) -> None:
    gate = Gate("slow1")
    others = [f"other{chr(97 + n // 26)}{chr(97 + n % 26)}1" for n in range(400)]
    ((_, place),) = work.append("slow1")
    work.append("slow2", *others)
    destination = FakeDestination(answers=gate)
    courier = work.courier(destination)
    work.turn(courier, until=lambda: set(others) <= set(destination.sent))
    work.turn_for(1.0, courier, step=0.1)
    assert "slow2" not in destination.sent
    assert [part.committed for part in work.progress()] == [place]
    gate.open()
    work.drain(courier)
    assert destination.sent[-1] == "slow2"
    assert len(destination.sent) == 402


TROUBLE: tuple[Outcome, ...] = (
    Retry("locked"),
    Retry("http_503", failing=True),
    Retry("http_503", failing=True, after=2.0),
    Retry("rate_limited", limited=True),
    Retry("refused_together", after=0, split=True),
    Retry("other_shape", after=0),
    Hold("key refused"),
)
END: tuple[Outcome, ...] = (Delivered(), Dead("invalid"), Discarded("unwanted"))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("batch", [1, 4])
def test_keeps_the_order_through_any_sequence_of_answers(
    tmp_path: Path, seed: int, batch: int
) -> None:
    random = Random(seed)
    ended: dict[str, list[str]] = defaultdict(list)

    def anything(_: str, names: list[str]) -> list[Outcome]:
        outcomes = [random.choice(TROUBLE if random.random() < 0.4 else END) for _ in names]
        for name, outcome in zip(names, outcomes, strict=True):
            if isinstance(outcome, END_KINDS):
                ended[name.rstrip("0123456789")].append(name)
        return outcomes

    names = [f"{person}{number}" for number in range(6) for person in "abcdefghijkl"]
    with workshop(tmp_path) as work:
        work.append(*names)
        endpoints = {"track": Endpoint(batch_size=batch, linger=0.01)}
        destination = FakeDestination(answers=anything, endpoints=endpoints)
        work.drain(work.courier(destination, max_attempts=1000), step=0.05)
    assert {person: ended[person] for person in "abcdefghijkl"} == {
        person: of_person(names, person) for person in "abcdefghijkl"
    }
    for request in destination.requests:
        people = [name.rstrip("0123456789") for name in request.names]
        assert len(people) == len(set(people)), "two records of one person in one request"


END_KINDS = tuple(type(outcome) for outcome in END)
