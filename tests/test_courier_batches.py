"""The courier: many steps in one request, and how it finds the one that spoils it."""

import pytest

from app.destination import Endpoint
from app.log.base import SEGMENT_CALLS, NewRecord, Record
from app.outcomes import Dead, Delivered, Outcome, Retry
from tests.fake_destination import FakeDestination, FakeStep, Workshop
from tests.fake_destination import work as work


def people(count: int) -> list[str]:
    return [f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(count)]


def batching(**options: float) -> dict[str, Endpoint]:
    return {"track": Endpoint(**{"batch_size": 10, "linger": 1.0, **options})}  # type: ignore[arg-type]


def sizes(destination: FakeDestination) -> list[int]:
    return [len(request.names) for request in destination.requests]


def test_a_full_batch_goes_at_once_and_the_rest_when_it_has_lingered(work: Workshop) -> None:
    work.append(*people(25))
    destination = FakeDestination(endpoints=batching())
    started = work.time.now
    work.drain(work.courier(destination))
    assert sizes(destination) == [10, 10, 5]
    first, second, last = (at - started for at in destination.times)
    assert second < 0.2
    assert 1.0 <= last - first <= 1.2


def test_a_batch_holds_no_more_bytes_than_the_endpoint_takes(work: Workshop) -> None:
    lengths = dict.fromkeys(people(10), 40) | {"huge": 500}
    work.append("huge", *people(10))

    def measured(record: Record) -> list[FakeStep]:
        name = (record.value or b"").decode()
        return [FakeStep(name, size=lengths[name])]

    destination = FakeDestination(map=measured, endpoints=batching(batch_bytes=100))
    work.drain(work.courier(destination))
    assert sizes(destination) == [1, 2, 2, 2, 2, 2], "one that is too large goes alone"


def test_a_batch_has_one_record_of_each_person(work: Workshop) -> None:
    work.append("a1", "a2", "b1", "b2", "a3")
    destination = FakeDestination(endpoints=batching())
    work.drain(work.courier(destination))
    assert [sorted(request.names) for request in destination.requests] == [
        ["a1", "b1"],
        ["a2", "b2"],
        ["a3"],
    ]


def test_every_entry_of_a_batch_gets_its_own_outcome(work: Workshop) -> None:
    fates: dict[str, Outcome] = {"ab": Dead("invalid_email"), "ac": Retry("unknown_user")}

    def each(_: str, names: list[str]) -> list[Outcome]:
        return [fates.pop(name, Delivered()) for name in names]

    work.append(*people(4))
    destination = FakeDestination(answers=each, endpoints=batching())
    work.drain(work.courier(destination))
    assert sorted(destination.sent) == ["aa", "ab", "ac", "ac", "ad"]
    assert [letter["key"] for letter in work.letters()] == ["ab"]


@pytest.mark.parametrize("count", [2, 7, 64])
def test_a_refused_batch_is_halved_until_the_guilty_one_is_alone(
    work: Workshop, count: int
) -> None:
    guilty = people(count)[count // 3]

    def refuse(_: str, names: list[str]) -> list[Outcome]:
        if guilty not in names:
            return [Delivered()] * len(names)
        if len(names) == 1:
            return [Dead("invalid")]
        return [Retry("batch_refused", after=0, split=True)] * len(names)

    work.append(*people(count))
    destination = FakeDestination(answers=refuse, endpoints=batching(batch_size=64))
    started = work.time.now
    work.drain(work.courier(destination, max_attempts=2))
    assert [letter["key"] for letter in work.letters()] == [guilty]
    assert work.shown()["delivered"] == count - 1
    assert len(destination.requests) <= 2 * count.bit_length() + 1
    # Nobody backs off or lingers for it: all waiting is for the first batch, and one commit.
    assert destination.times[-1] - started <= 1.5


def test_what_is_refused_alone_with_a_wish_to_split_ends_in_a_letter(work: Workshop) -> None:
    def refuse(_: str, names: list[str]) -> list[Outcome]:
        return [Retry("too_large", after=0, split=True)] * len(names)

    work.append("a", "b")
    destination = FakeDestination(answers=refuse, endpoints=batching())
    work.drain(work.courier(destination, max_attempts=3), step=0.5)
    assert sorted(letter["key"] for letter in work.letters()) == ["a", "b"]
    assert {letter["reason"] for letter in work.letters()} == {"too_large"}


def test_a_step_is_sent_again_at_once_in_another_shape_without_an_attempt(work: Workshop) -> None:
    def reshape(_: str, names: list[str]) -> list[Outcome]:
        (name,) = names
        if name.count("+") < 5:
            return [Retry("field_types", after=0, instead=FakeStep(name + "+"))]
        return [Delivered()]

    work.append("a")
    destination = FakeDestination(answers=reshape)
    courier = work.courier(destination, max_attempts=2)
    started = work.time.now
    work.drain(courier)
    assert destination.sent == ["a", "a+", "a++", "a+++", "a++++", "a+++++"]
    assert destination.times[-1] - started <= 0.3
    assert work.shown()["delivered"] == 1


def test_a_step_may_be_replaced_by_one_for_another_endpoint(work: Workshop) -> None:
    def ask(endpoint: str, names: list[str]) -> list[Outcome]:
        if endpoint == "track":
            return [Retry("unknown_user", after=0, instead=FakeStep("question", "lookup"))]
        return [Delivered()]

    work.append("a")
    endpoints = {"track": Endpoint(), "lookup": Endpoint()}
    destination = FakeDestination(answers=ask, endpoints=endpoints)
    work.drain(work.courier(destination))
    assert [request.endpoint for request in destination.requests] == ["track", "lookup"]


@pytest.mark.parametrize("max_attempts", [1, 3, 20])
def test_a_poisonous_entry_does_not_take_its_company_with_it(
    work: Workshop, max_attempts: int
) -> None:
    poison = people(40)[17]

    def crash(_: str, names: list[str]) -> list[Outcome]:
        if poison in names:
            return [Retry("http_500", failing=True)] * len(names)
        return [Delivered()] * len(names)

    def traffic() -> bool:
        # Others are delivered all the while, so that the failures speak against this batch.
        work.log.append(SEGMENT_CALLS, [NewRecord(f"t{work.time.now}", b"traffic", {})])
        return bool(work.letters())

    work.append(*people(40))
    destination = FakeDestination(answers=crash, endpoints=batching(batch_size=40, linger=0.1))
    courier = work.courier(destination, max_attempts=max_attempts)
    work.turn(courier, until=traffic, seconds=3600.0, step=0.5)
    work.drain(courier, step=0.5)
    assert [letter["key"] for letter in work.letters()] == [poison]
    assert set(people(40)) <= set(destination.sent)


def test_who_comes_back_to_the_head_of_a_queue_does_not_make_the_others_linger_longer(
    work: Workshop,
) -> None:
    def two_kinds(record: Record) -> list[FakeStep]:
        name = (record.value or b"").decode()
        last = FakeStep(name, "track")
        return [FakeStep(name, "first"), last] if name.startswith("two") else [last]

    endpoints = {**batching(batch_size=1000), "first": Endpoint()}
    destination = FakeDestination(map=two_kinds, endpoints=endpoints)
    courier = work.courier(destination)
    work.append("patient")
    started = work.time.now

    def more() -> bool:
        work.log.append(SEGMENT_CALLS, [NewRecord(f"two{work.time.now}", b"two", {})])
        return "patient" in destination.sent

    work.turn(courier, until=more, seconds=30.0, step=0.2)
    assert destination.times[-1] - started <= 2.0
