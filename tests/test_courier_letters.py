"""The courier: a record that dies leaves a letter, before its offset is committed."""

from contextlib import suppress

from app.destination import Endpoint
from app.log.base import DEAD_LETTERS, LogUnavailable, Record
from app.outcomes import Answer, Dead, Delivered
from tests.fake_destination import FakeDestination, FakeStep, Faulty, Script, Workshop, one_step
from tests.fake_destination import work as work

INVALID = Dead("invalid_email", Answer(400, '{"code":"InvalidEmailAddressError"}'))


def test_a_letter_has_all_that_a_person_needs(work: Workshop) -> None:
    work.append("anna1", **{"message-id": "m1", "received-at": "1.5"})
    work.drain(work.courier(FakeDestination(answers=Script(anna1=[INVALID]))))
    (letter,) = work.letters()
    assert letter.pop("id")
    assert 1000.0 <= letter.pop("died_at") <= 1002.0
    assert letter == {
        "reason": "invalid_email",
        "topic": "segment.calls",
        "key": "anna",
        "headers": {"message-id": "m1", "received-at": "1.5"},
        "body": "anna1",
        "request": {"name": "anna1"},
        "answer": {"status": 400, "body": '{"code":"InvalidEmailAddressError"}'},
        "attempts": 1,
        "group": "fake",
    }


def test_what_cannot_be_mapped_has_a_letter_without_request_and_answer(work: Workshop) -> None:
    work.append("anna1")
    work.drain(work.courier(FakeDestination(map=lambda _: Dead("no_identity"))))
    (letter,) = work.letters()
    assert (letter["reason"], letter["request"], letter["answer"]) == ("no_identity", None, None)
    assert letter["attempts"] == 0


def test_the_offset_is_committed_only_when_the_letter_is_durable(work: Workshop) -> None:
    log = Faulty(work.log)
    log.failing.add(DEAD_LETTERS)
    work.append("a1", "dead1", "dead2", "b1")
    destination = FakeDestination(answers=Script(dead1=[INVALID]))
    courier = work.courier(destination, log=log)
    for _ in range(20):
        with suppress(LogUnavailable):
            courier.turn()
        work.time.sleep(0.2)
    assert log.failures > 1
    assert "b1" in destination.sent
    assert "dead2" not in destination.sent, "the person's next waits for the letter"
    assert all(part.committed <= 1 for part in work.progress())
    log.failing.clear()
    work.drain(courier)
    assert [letter["key"] for letter in work.letters()] == ["dead"]
    assert destination.sent.count("dead1") == 1


def test_a_kill_between_letter_and_commit_writes_the_same_letter_again(work: Workshop) -> None:
    log = Faulty(work.log)
    log.failing.add("commit")
    work.append("dead1")
    script = {"dead1": [INVALID]}
    courier = work.courier(FakeDestination(answers=Script(**script)), log=log)
    with suppress(LogUnavailable):
        work.turn(courier, until=work.letters)
    work.kill(courier)
    work.drain(work.courier(FakeDestination(answers=Script(**script))))
    first, second = work.letters()
    assert first["id"] == second["id"]


def test_the_same_call_that_dies_in_two_places_leaves_two_letters(work: Workshop) -> None:
    work.append("dead1", "dead1")
    work.drain(work.courier(FakeDestination(map=lambda _: Dead("no_identity"))))
    first, second = work.letters()
    assert first["id"] != second["id"]


def test_refused_fields_leave_a_letter_while_the_record_counts_as_delivered(
    work: Workshop,
) -> None:
    taken = Delivered(Answer(200, "{}"), refused={"age": "forty"})
    work.append("anna1", "anna2")
    destination = FakeDestination(answers=Script(anna1=[taken]))
    work.drain(work.courier(destination))
    (letter,) = work.letters()
    assert letter["reason"] == "field_refused"
    assert letter["fields"] == {"age": "forty"}
    assert letter["request"] == {"name": "anna1"}
    assert work.shown()["delivered"] == 2
    assert work.shown()["dead"] == 0
    assert destination.sent == ["anna1", "anna2"]


def test_fields_refused_in_an_early_step_are_in_the_letter_too(work: Workshop) -> None:
    def two_steps(record: Record) -> list[FakeStep]:
        (step,) = one_step(record)
        return [FakeStep(step.name, "profile"), FakeStep(step.name + "!", "track")]

    script = Script(
        a1=[Delivered(refused={"age": "forty"})], **{"a1!": [Delivered(refused={"total": "x"})]}
    )
    endpoints = {"profile": Endpoint(), "track": Endpoint()}
    work.append("a1")
    work.drain(work.courier(FakeDestination(answers=script, map=two_steps, endpoints=endpoints)))
    (letter,) = work.letters()
    assert letter["fields"] == {"age": "forty", "total": "x"}
