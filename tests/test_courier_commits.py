"""The courier: what is committed is finished, and whatever ends a courier loses nothing."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from app.courier import Courier
from app.courier.courier import GRACE, UNFINISHED, UNFINISHED_BYTES
from app.log.base import (
    DEAD_LETTERS,
    RECEIPTS,
    SEGMENT_CALLS,
    LogUnavailable,
    NewRecord,
    Record,
)
from app.outcomes import Answer, Dead, Delivered, Discarded, Outcome, Retry
from tests.fake_destination import (
    FakeDestination,
    FakeStep,
    Faulty,
    Gate,
    Script,
    Workshop,
    one_step,
    workshop,
)
from tests.fake_destination import work as work


def test_a_new_courier_after_a_kill_gets_what_was_unfinished_and_harmless_repeats(
    work: Workshop,
) -> None:
    work.append("a1", "b1", "stuck1", "c1", "d1")
    first = FakeDestination(answers=Gate("stuck1"))
    courier = work.courier(first)
    work.turn(courier, until=lambda: {"c1", "d1"} <= set(first.sent))
    work.turn_for(0.5, courier, step=0.1)
    assert [part.committed for part in work.progress()] == [2]
    work.kill(courier)
    work.append("e1")
    second = FakeDestination()
    work.drain(work.courier(second))
    # c1 and d1 are repeated, as one offset cannot tell that they were done; a1 and b1 are not.
    assert sorted(second.sent) == ["c1", "d1", "e1", "stuck1"]


def test_a_killed_courier_repeats_nothing_that_it_committed(work: Workshop) -> None:
    work.append("a1", "b1")
    courier = work.courier(FakeDestination())
    work.drain(courier)
    work.kill(courier)
    again = FakeDestination()
    work.turn_for(1.0, work.courier(again))
    assert again.sent == []


@pytest.mark.parametrize("seed", range(4))
def test_any_number_of_kills_loses_nothing_and_keeps_the_order(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    done: list[str] = []

    def moody(_: str, names: list[str]) -> list[Outcome]:
        if random.random() < 0.3:
            return [Retry("http_500", failing=random.random() < 0.5) for _ in names]
        done.extend(names)
        return [Delivered() for _ in names]

    names = [f"{person}{number}" for number in range(4) for person in "abcdefghijklmnopqrstuvwxyz"]
    with workshop(tmp_path) as work:
        work.append(*names)
        while work.waiting():
            courier = work.courier(FakeDestination(answers=moody))
            for _ in range(random.randrange(1, 60)):
                courier.turn()
                work.time.sleep(random.choice((0.0, 0.01, 0.1)))
            work.kill(courier)
        assert work.shown()["delivered"] >= len(names)
    for person in "abcdefghijklmnopqrstuvwxyz":
        own = [name for name in done if name.startswith(person)]
        assert list(dict.fromkeys(own)) == [f"{person}{number}" for number in range(4)]
        assert own[-1] == f"{person}3", "a repeat of an old call is never the last word"


def sort(record: Record) -> Sequence[FakeStep] | Discarded | Dead:
    """What becomes of a record, by its name."""
    fates: dict[bytes | None, Sequence[FakeStep] | Discarded | Dead] = {
        b"unwanted1": Discarded("unwanted"),
        b"broken1": Dead("invalid"),
        b"foreign1": (),
    }
    return fates.get(record.value, one_step(record))


def test_the_counters_survive_a_restart(work: Workshop) -> None:
    for names in (("a1", "unwanted1"), ("broken1", "foreign1", "b1")):
        courier = work.courier(FakeDestination(map=sort))
        work.append(*names)
        work.drain(courier)
        work.leave(courier)
    shown = work.shown()
    counted = {name: shown[name] for name in ("delivered", "discarded", "dead")}
    assert counted == {"delivered": 2, "discarded": 1, "dead": 1}


def test_every_record_that_was_dealt_with_has_a_receipt(work: Workshop) -> None:
    work.append("a1", "unwanted1", "broken1", "foreign1")
    work.drain(work.courier(FakeDestination(map=sort)))
    receipts = {r["person"]: (r["outcome"], r["reason"]) for r in work.receipts()}
    assert receipts == {
        "a": ("delivered", None),
        "unwanted": ("discarded", "unwanted"),
        "broken": ("dead", "invalid"),
    }


def test_a_receipt_tells_what_became_of_a_record(work: Workshop) -> None:
    taken = Delivered(Answer(200, "{}"), notice="event_disallowed")
    script = Script(anna1=[Retry("locked"), taken])
    work.append("anna1", **{"message-id": "m1"})
    work.drain(work.courier(FakeDestination(answers=script)))
    (receipt,) = work.receipts()
    assert {name: receipt[name] for name in receipt if name not in ("at", "latency", "waited")} == {
        "direction": "outbound",
        "outcome": "delivered",
        "reason": "event_disallowed",
        "person": "anna",
        "message_id": "m1",
        "endpoint": "track",
        "status": 200,
        "attempts": 2,
    }
    assert 0.2 <= receipt["waited"] <= 2.0


def turn_on(work: Workshop, courier: Courier, done: Callable[[], bool]) -> None:
    """Turn as `run` does, which goes on after a failure of the log."""

    def turn_anyway() -> bool:
        with suppress(LogUnavailable):
            courier.turn()
        work.time.sleep(0.05)
        return done()

    work.turn(until=turn_anyway)


@pytest.mark.parametrize(
    "operation", ["poll", "committed", "read", "commit", DEAD_LETTERS, RECEIPTS]
)
def test_a_log_that_fails_for_a_while_loses_nothing(work: Workshop, operation: str) -> None:
    courier = work.courier(FakeDestination())
    work.append("a1", "b1")
    work.drain(courier)
    work.leave(courier)
    *_, (_, place) = work.append("c1", "d1", "dead1", "e1")
    log = Faulty(work.log)
    destination = FakeDestination(answers=Script(dead1=[Dead("invalid")]))
    courier = work.courier(destination, log=log)
    log.failing.add(operation)
    turn_on(work, courier, lambda: log.failures >= 3 or work.waiting() == 0)
    if operation != RECEIPTS:  # which are no promise, and stop nothing
        assert [part.committed for part in work.progress()] <= [place]
    log.failing.clear()
    turn_on(work, courier, lambda: work.waiting() == 0)
    assert sorted(destination.sent) == ["c1", "d1", "dead1", "e1"], "each once, none forgotten"
    assert [letter["key"] for letter in work.letters()] == ["dead"]


def test_the_courier_runs_on_when_the_log_fails_in_a_turn(work: Workshop) -> None:
    log = Faulty(work.log)
    log.failing.add("poll")
    work.append("a1")
    stop = threading.Event()
    destination = FakeDestination()
    courier = work.courier(destination, log=log)
    original = courier.turn

    def repaired() -> None:
        try:
            original()
        finally:
            log.failing.clear()
            if destination.sent:
                stop.set()

    courier.turn = repaired  # type: ignore[method-assign]
    courier.run(stop)
    assert destination.sent == ["a1"]
    assert work.waiting() == 0


def test_a_stopped_courier_finishes_what_is_under_way_and_commits_it(work: Workshop) -> None:
    gate = Gate("b1")
    work.append("a1", "b1", "b2")
    destination = FakeDestination(answers=gate)
    courier = work.courier(destination)
    work.turn(courier, until=lambda: {"a1", "b1"} <= set(destination.sent))
    timer = threading.Timer(0.05, gate.open)
    timer.start()
    work.leave(courier)
    timer.join()
    assert destination.sent == ["a1", "b1"], "nothing new is begun"
    assert destination.closed
    assert work.waiting() == 1
    assert work.shown()["delivered"] == 2


def test_what_a_leaving_courier_cannot_commit_is_delivered_again(
    work: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    log = Faulty(work.log)
    log.failing.add("commit")
    work.append("a1")
    first, second = FakeDestination(), FakeDestination()
    courier = work.courier(first, log=log)
    turn_on(work, courier, lambda: bool(first.sent))
    work.leave(courier)
    assert "it will be repeated" in caplog.text
    work.drain(work.courier(second))
    assert (first.sent, second.sent) == (["a1"], ["a1"])


def test_a_stopped_courier_waits_no_longer_than_its_grace(work: Workshop) -> None:
    gate = Gate("b1")
    work.append("a1", "b1", "c1")
    destination = FakeDestination(answers=gate)
    courier = work.courier(destination)
    work.turn(courier, until=lambda: work.shown().get("delivered") == 2)
    stopper = threading.Thread(target=work.leave, args=(courier,))
    stopper.start()
    while stopper.is_alive():
        work.time.sleep(GRACE / 10)
        stopper.join(0.02)
    assert [part.committed for part in work.progress()] == [1]
    gate.open()


def test_holds_no_more_records_in_memory_than_its_window(work: Workshop) -> None:
    gate = Gate()
    mapped: list[int] = []

    def note(record: Record) -> Sequence[FakeStep]:
        mapped.append(record.offset)
        return one_step(record)

    names = [
        f"p{chr(97 + n // 676)}{chr(97 + n // 26 % 26)}{chr(97 + n % 26)}" for n in range(4500)
    ]
    work.append(*names)
    destination = FakeDestination(answers=gate, map=note)
    courier = work.courier(destination)
    work.turn(courier, until=lambda: len(mapped) >= 32, step=0.1)
    work.turn_for(0.5, courier, step=0.1)
    assert len(mapped) == UNFINISHED
    gate.open()
    work.drain(courier)
    assert sorted(destination.sent) == sorted(names)


def test_holds_no_more_bytes_in_memory_than_its_window(work: Workshop) -> None:
    gate = Gate()
    mapped: list[int] = []

    def note(record: Record) -> Sequence[FakeStep]:
        mapped.append(len(record.value or b""))
        return [FakeStep(record.key)]

    megabyte = bytes(1024 * 1024)
    for n in range(0, 60, 10):
        work.log.append(
            SEGMENT_CALLS, [NewRecord(f"person-{n + i}", megabyte, {}) for i in range(10)]
        )
    courier = work.courier(FakeDestination(answers=gate, map=note))
    work.turn(courier, until=lambda: len(mapped) >= 32, step=0.1)
    work.turn_for(0.5, courier, step=0.1)
    assert UNFINISHED_BYTES <= sum(mapped) <= UNFINISHED_BYTES + 5 * len(megabyte)
    gate.open()
    work.drain(courier)
    assert len(mapped) == 60
