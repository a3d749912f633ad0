"""Dead letters: what stands, how it is replayed and dropped, on a real log."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app import deadletters
from app.log import open_log
from app.log.base import DEAD_LETTERS, SEGMENT_CALLS, Log, LogUnavailable, NewRecord, Record
from tests.fake_destination import Faulty


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(open_log(f"sqlite:///{tmp_path}/bridge.db")) as opened:
        yield opened


def letter(number: int, **details: Any) -> NewRecord:
    return deadletters.write(
        reason="invalid_email",
        topic=SEGMENT_CALLS,
        key="anna",
        headers={"message-id": f"m{number}", "received-at": "1.5"},
        body=f'{{"n":{number}}}'.encode(),
        place=f"segment.calls/3/{number}/iterable",
        now=1700000000.0,
        details=details,
    )


def bury(log: Log, *numbers: int, **details: Any) -> list[str]:
    """Store letters and return their ids."""
    records = [letter(number, **details) for number in numbers]
    log.append(DEAD_LETTERS, records)
    return [record.key for record in records]


def standing(log: Log) -> list[str]:
    return [found["id"] for found in deadletters.letters(log)]


def calls(log: Log) -> list[Record]:
    parts = range(log.partitions(SEGMENT_CALLS))
    return [record for part in parts for record in log.read(SEGMENT_CALLS, part, 0)]


def test_an_id_depends_on_the_place_of_death_and_the_reason_only() -> None:
    again = deadletters.write(
        reason="invalid_email",
        topic=SEGMENT_CALLS,
        key="other",
        headers={},
        body=b"",
        place="segment.calls/3/1/iterable",
        now=1.0,
        details={},
    )
    assert again.key == letter(1).key
    assert again.key != letter(2).key


def test_letters_stand_oldest_first(log: Log) -> None:
    ids = bury(log, 3, 1, 2)
    assert standing(log) == ids
    first = next(deadletters.letters(log))
    assert first["body"] == '{"n":3}'
    assert first["headers"]["message-id"] == "m3"


def test_a_letter_written_twice_stands_once(log: Log) -> None:
    ids = bury(log, 1, 2)
    bury(log, 1)
    assert standing(log) == ids


def test_a_dropped_letter_stands_no_more(log: Log) -> None:
    ids = bury(log, 1, 2, 3)
    deadletters.drop(log, ids[:2])
    assert standing(log) == ids[2:]


def test_dropping_nothing_stores_nothing(log: Log) -> None:
    deadletters.drop(log, [])
    assert list(log.read(DEAD_LETTERS, 0, 0)) == []


def test_a_letter_that_is_written_again_after_its_end_stands_again(log: Log) -> None:
    ids = bury(log, 1)
    deadletters.drop(log, ids)
    bury(log, 1)
    assert standing(log) == ids


def test_a_replay_keeps_key_body_and_headers_and_ends_the_letter(log: Log) -> None:
    ids = bury(log, 1, group="iterable")
    deadletters.replay(log, list(deadletters.letters(log)))
    (record,) = calls(log)
    assert (record.key, record.value) == ("anna", b'{"n":1}')
    assert record.headers == {
        "message-id": "m1",
        "received-at": "1.5",
        deadletters.REPLAY_OF: ids[0],
        deadletters.REPLAY_FOR: "iterable",
    }
    assert standing(log) == []


def test_a_call_that_the_door_refused_is_replayed_for_all(log: Log) -> None:
    bury(log, 1)
    deadletters.replay(log, list(deadletters.letters(log)))
    (record,) = calls(log)
    assert deadletters.REPLAY_FOR not in record.headers


def test_a_replay_keeps_text_beyond_ascii(log: Log) -> None:
    body = '{"name":"Zoë 🚀"}'.encode()
    record = deadletters.write(
        reason="x",
        topic=SEGMENT_CALLS,
        key="zoë",
        headers={},
        body=body,
        place="p",
        now=1.0,
        details={},
    )
    log.append(DEAD_LETTERS, [record])
    deadletters.replay(log, list(deadletters.letters(log)))
    assert [(call.key, call.value) for call in calls(log)] == [("zoë", body)]


@pytest.mark.parametrize("failing", [SEGMENT_CALLS, DEAD_LETTERS])
def test_a_replay_that_is_cut_short_loses_nothing(log: Log, failing: str) -> None:
    ids = bury(log, 1, 2)
    broken = Faulty(log)
    broken.failing.add(failing)
    with pytest.raises(LogUnavailable):
        deadletters.replay(broken, list(deadletters.letters(log)))
    assert standing(log) == ids, "a letter ends only when its call is stored"
    deadletters.replay(log, list(deadletters.letters(log)))
    assert standing(log) == []
    assert {record.headers["message-id"] for record in calls(log)} == {"m1", "m2"}


def test_there_may_be_no_letters_at_all(log: Log) -> None:
    assert standing(log) == []
    deadletters.replay(log, [])
    assert calls(log) == []
