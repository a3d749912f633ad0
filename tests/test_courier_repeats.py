"""The courier: a call that a sender repeats is delivered once, a replayed one again."""

from pathlib import Path

from app import deadletters
from app.courier.ledger import RECENT_IDS, RecentIds
from app.log.base import Record
from app.outcomes import Dead
from tests.fake_destination import FakeDestination, Gate, Script, Workshop, workshop
from tests.fake_destination import work as work


def repeat(work: Workshop, *ids: str, key: str = "anna") -> None:
    """Store a call an id, each of another content."""
    for message_id in ids:
        name = f"{key}{work.log.progress('segment.calls', 'fake')[0].end}"
        work.append(name, **{"message-id": message_id})


def test_a_repeated_message_id_is_delivered_once(work: Workshop) -> None:
    repeat(work, "m1", "m2", "m1")
    destination = FakeDestination()
    work.drain(work.courier(destination))
    assert destination.sent == ["anna0", "anna1"]
    assert [(r["outcome"], r["reason"]) for r in work.receipts()][-1] == ("discarded", "repeat")
    assert work.shown()["delivered"] == 2


def test_a_repeat_is_skipped_while_the_first_one_is_under_way(work: Workshop) -> None:
    gate = Gate()
    repeat(work, "m1", "m1")
    destination = FakeDestination(answers=gate)
    courier = work.courier(destination)
    work.turn(courier, until=lambda: destination.sent)
    work.turn_for(0.2, courier, step=0.05)
    gate.open()
    work.drain(courier)
    assert destination.sent == ["anna0"]


def test_the_window_of_message_ids_is_rebuilt_after_a_restart(work: Workshop) -> None:
    repeat(work, "m1", "m2")
    courier = work.courier(FakeDestination())
    work.drain(courier)
    work.kill(courier)
    repeat(work, "m1", "m3")
    destination = FakeDestination()
    work.drain(work.courier(destination))
    assert destination.sent == ["anna3"]


def test_what_a_killed_courier_left_unfinished_is_no_repeat(work: Workshop) -> None:
    repeat(work, "m1", "m2")
    courier = work.courier(FakeDestination(answers=Gate()))
    work.turn_for(0.5, courier, step=0.1)
    work.kill(courier)
    destination = FakeDestination()
    work.drain(work.courier(destination))
    assert destination.sent == ["anna0", "anna1"]


def test_a_late_repeat_of_an_old_identify_does_not_overwrite_a_newer_one(work: Workshop) -> None:
    state: dict[str, str] = {}
    values = {"anna0": "old", "anna1": "new", "anna2": "old"}

    class Profile(FakeDestination):
        def deliver(self, endpoint, steps):
            state.update((step.name[:4], values[step.name]) for step in steps)
            return super().deliver(endpoint, steps)

    repeat(work, "first", "second", "first")
    work.drain(work.courier(Profile()))
    assert state == {"anna": "new"}


def test_calls_without_a_message_id_are_never_repeats(work: Workshop) -> None:
    work.append("anna1", "anna1")
    destination = FakeDestination()
    work.drain(work.courier(destination))
    assert destination.sent == ["anna1", "anna1"]


def test_a_replayed_call_is_delivered_although_its_id_is_known(work: Workshop) -> None:
    work.append("anna1", **{"message-id": "m1"})
    destination = FakeDestination(answers=Script(anna1=[Dead("invalid")]))
    courier = work.courier(destination)
    work.drain(courier)
    deadletters.replay(work.log, list(deadletters.letters(work.log)))
    work.drain(courier)
    assert destination.sent == ["anna1", "anna1"]
    assert work.shown()["delivered"] == 1
    assert work.shown()["dead"] == 1


def test_a_replayed_call_goes_only_to_the_group_in_which_it_died(tmp_path: Path) -> None:
    with workshop(tmp_path) as work:
        work.append("anna1", **{"message-id": "m1"})
        well = FakeDestination(group="iterable")
        mobile = FakeDestination(
            group="iterable-mobile", answers=Script(anna1=[Dead("invalid_token")])
        )
        couriers = [work.courier(well), work.courier(mobile)]
        for destination in (well, mobile):
            work.drain(*couriers, group=destination.group)
        deadletters.replay(work.log, list(deadletters.letters(work.log)))
        for destination in (well, mobile):
            work.drain(*couriers, group=destination.group)
        assert well.sent == ["anna1"], "its old profile must not go out again"
        assert mobile.sent == ["anna1", "anna1"]


def record(message_id: str) -> Record:
    return Record("segment.calls", 0, 0, "anna", b"", {"message-id": message_id}, 0.0)


def test_the_window_forgets_the_oldest_ids() -> None:
    recent = RecentIds()
    assert all(recent.add(record(f"m{n}")) for n in range(RECENT_IDS + 1))
    assert recent.add(record("m0"))
    assert not recent.add(record("m2"))
