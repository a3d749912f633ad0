"""`bridge status` and `bridge dead`: what people see, and what they can do about it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from app import deadletters
from app.cli import bridge
from app.cli.status import gather
from app.log import open_log
from app.log.base import (
    DEAD_LETTERS,
    ITERABLE_WEBHOOKS,
    RECEIPTS,
    SEGMENT_CALLS,
    Commit,
    Log,
    LogUnavailable,
    NewRecord,
)
from app.settings import Settings
from tests.bridge_process import clean_environment

Run = Callable[..., Result]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(open_log(f"sqlite:///{tmp_path}/bridge.db")) as opened:
        yield opened


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on the log of this test."""
    for name in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("BRIDGE_LOG", f"sqlite:///{tmp_path}/bridge.db")
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(bridge, arguments)


def commit(log: Log, topic: str, group: str, key: str, **shown: object) -> None:
    """Finish the first record of `key`'s partition."""
    ((partition, offset),) = log.append(topic, [NewRecord(key, b"{}", {})])
    consumer = log.consume(topic, group, lambda _: None)
    with closing(consumer):
        consumer.poll(1, 0.0)
        consumer.commit({partition: Commit(offset, json.dumps(shown))})


def bury(log: Log, *keys: str, reason: str = "invalid_email", **details: object) -> list[str]:
    """Store a dead letter a key and return their ids."""
    records = [
        deadletters.write(
            reason=reason,
            topic=SEGMENT_CALLS,
            key=key,
            headers={"message-id": f"m-{key}"},
            body=b'{"type":"track"}',
            place=key,
            now=1_700_000_000.0,
            details=details,
        )
        for key in keys
    ]
    log.append(DEAD_LETTERS, records)
    return [record.key for record in records]


def replayed(log: Log) -> list[str]:
    parts = range(log.partitions(SEGMENT_CALLS))
    return sorted(record.key for part in parts for record in log.read(SEGMENT_CALLS, part, 0))


def test_an_empty_log_has_a_status(run: Run) -> None:
    done = run("status", "--json")
    assert done.exit_code == 0
    shown = json.loads(done.stdout)
    assert shown["outbound"].pop("groups") == {"iterable": shown["outbound"]}
    assert shown["outbound"] == {
        "waiting": 0,
        "delivered": 0,
        "discarded": 0,
        "dead": 0,
        "oldest_waiting_seconds": None,
        "state": "ok",
        "reason": "",
        "notices": {},
    }


def test_the_counters_of_all_partitions_are_added_up(log: Log) -> None:
    commit(log, SEGMENT_CALLS, "iterable", "anna", delivered=3, discarded=1, state="ok", reason="")
    commit(log, SEGMENT_CALLS, "iterable", "ben", delivered=4, state="ok", notices={"lost": 5})
    shown = gather(log, Settings(), time.time() + 60.0)["outbound"]
    figures = {name: shown[name] for name in ("waiting", "delivered", "discarded", "dead")}
    assert figures == {"waiting": 2, "delivered": 7, "discarded": 1, "dead": 0}
    assert shown["notices"] == {"lost": 5}
    assert 60.0 <= shown["oldest_waiting_seconds"] <= 70.0


def test_the_worst_state_of_a_direction_is_shown_with_its_reason(log: Log) -> None:
    commit(log, SEGMENT_CALLS, "iterable", "anna", state="failing", reason="track: http_503")
    commit(log, SEGMENT_CALLS, "iterable-mobile", "ben", state="held", reason="wrong key")
    settings = Settings(iterable_mobile_api_key="k")
    shown = gather(log, settings, time.time())
    assert (shown["outbound"]["state"], shown["outbound"]["reason"]) == ("held", "wrong key")
    assert shown["outbound"]["groups"]["iterable"]["reason"] == "track: http_503"
    assert shown["inbound"]["state"] == "ok"


def test_the_table_shows_every_group(log: Log, run: Run) -> None:
    commit(log, SEGMENT_CALLS, "iterable", "anna", delivered=1234, state="held", reason="wrong key")
    commit(log, ITERABLE_WEBHOOKS, "segment", "anna", discarded=5)
    lines = run("status").stdout.splitlines()
    assert " ".join(lines[0].split()) == "waiting delivered discarded dead oldest waiting state"
    assert lines[1].split()[:6] == ["outbound", "iterable", "1", "1,234", "0", "0"]
    assert lines[1].split()[-1] == "held"
    assert lines[2].strip() == "wrong key"
    assert lines[3].split()[:6] == ["inbound", "segment", "1", "0", "5", "0"]


def test_the_list_has_a_line_a_letter(log: Log, run: Run) -> None:
    bury(log, "anna", answer={"status": 400, "body": "no"})
    (letter_id,) = bury(log, "ben", reason="no_identity")
    lines = run("dead", "list").stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].split()[1:] == ["2023-11-14", "22:13:20", "invalid_email", "400", "anna"]
    assert lines[1].split() == [letter_id, "2023-11-14", "22:13:20", "no_identity", "-", "ben"]


def test_the_list_can_be_json_and_of_one_reason(log: Log, run: Run) -> None:
    bury(log, "anna")
    bury(log, "ben", "carl", reason="no_identity")
    done = run("dead", "list", "--json", "--reason", "no_identity")
    assert [orjson.loads(line)["key"] for line in done.stdout.splitlines()] == ["ben", "carl"]


def test_a_letter_is_shown_whole(log: Log, run: Run) -> None:
    (letter_id,) = bury(log, "zoë", request={"path": "/api/users/update"}, attempts=3)
    done = run("dead", "show", letter_id)
    shown = json.loads(done.stdout)
    assert (shown["key"], shown["request"], shown["attempts"]) == (
        "zoë",
        {"path": "/api/users/update"},
        3,
    )
    assert "zoë" in done.stdout


def test_an_unknown_letter_is_an_error(run: Run) -> None:
    done = run("dead", "show", "nonesuch")
    assert done.exit_code == 1
    assert "There is no dead letter nonesuch." in done.stderr


@pytest.mark.parametrize("command", ["replay", "drop"])
def test_letters_must_be_chosen(run: Run, command: str) -> None:
    done = run("dead", command)
    assert done.exit_code == 2
    assert "--all" in done.stderr


def test_chosen_letters_are_replayed(log: Log, run: Run) -> None:
    first, _, third = bury(log, "anna", "ben", "carl")
    done = run("dead", "replay", first, third)
    assert (done.exit_code, done.stdout) == (0, "2 replayed\n")
    assert replayed(log) == ["anna", "carl"]
    assert [letter["key"] for letter in deadletters.letters(log)] == ["ben"]


def test_letters_of_one_reason_are_dropped(log: Log, run: Run) -> None:
    bury(log, "anna", "ben")
    bury(log, "carl", reason="no_identity")
    done = run("dead", "drop", "--reason", "invalid_email")
    assert (done.exit_code, done.stdout) == (0, "2 dropped\n")
    assert [letter["key"] for letter in deadletters.letters(log)] == ["carl"]
    assert replayed(log) == []


def test_an_id_that_is_no_letter_is_told(log: Log, run: Run) -> None:
    (letter_id,) = bury(log, "anna")
    done = run("dead", "replay", letter_id, "nonesuch")
    assert done.exit_code == 1
    assert "1 replayed; some of the IDs are no dead letters." in done.stderr
    assert replayed(log) == ["anna"]


def test_an_interrupted_replay_is_resumed_where_it_stopped(
    log: Log, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"person-{number:04}" for number in range(1200)]
    bury(log, *keys)
    once = deadletters.replay
    chunks = 0

    def interrupted(log: Log, chosen: list[dict[str, object]]) -> None:
        nonlocal chunks
        chunks += 1
        if chunks == 2:
            raise KeyboardInterrupt
        once(log, chosen)

    monkeypatch.setattr(deadletters, "replay", interrupted)
    assert run("dead", "replay", "--all").exit_code == 1
    done = run("dead", "replay", "--all")
    assert (done.exit_code, done.stdout) == (0, "700 replayed\n")
    assert replayed(log) == keys


def test_five_thousand_letters_are_replayed_quickly_and_with_progress(log: Log, run: Run) -> None:
    bury(log, *(f"person-{number}" for number in range(5000)))
    started = time.perf_counter()
    done = run("dead", "replay", "--all")
    assert time.perf_counter() - started < 10.0
    assert done.stdout == "5000 replayed\n"
    assert "5000/5000" in done.stderr
    assert list(deadletters.letters(log)) == []


def test_a_log_that_cannot_be_read_raises_what_the_command_line_explains(
    tmp_path: Path, run: Run
) -> None:
    (tmp_path / "bridge.db").write_bytes(b"no database at all" * 100)
    assert isinstance(run("status").exception, LogUnavailable)


def real(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=folder,
        env={**clean_environment(), "BRIDGE_LOG": f"sqlite:///{folder}/bridge.db"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands_work_as_processes(log: Log, tmp_path: Path) -> None:
    (letter_id,) = bury(log, "anna")
    done = real(tmp_path, "dead", "replay", letter_id)
    assert (done.returncode, done.stdout) == (0, "1 replayed\n")
    shown = json.loads(real(tmp_path, "status", "--json").stdout)
    assert shown["outbound"]["waiting"] == 1


def test_a_process_explains_a_log_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bridge.db").write_bytes(b"no database at all" * 100)
    done = real(tmp_path, "status")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The log is unavailable: ")
    assert "Traceback" not in done.stderr


def test_dead_counts_the_letters_that_stand_now(log: Log) -> None:
    bury(log, "anna", group="iterable")
    (refused,) = bury(log, "ben")
    shown = gather(log, Settings(), time.time())["outbound"]
    assert (shown["dead"], shown["groups"]["iterable"]["dead"]) == (2, 1)
    deadletters.drop(log, [refused])
    assert gather(log, Settings(), time.time())["outbound"]["dead"] == 1


def test_a_persons_receipts_tell_what_became_of_each_call(log: Log, run: Run) -> None:
    receipt = {
        "at": 1_700_000_000.5,
        "direction": "outbound",
        "outcome": "delivered",
        "reason": None,
        "person": "anna",
        "message_id": "m-1",
        "endpoint": "commerce/trackPurchase",
        "status": 200,
        "attempts": 3,
        "latency": 0.05,
        "waited": 1.5,
    }
    refused = receipt | {"at": 1_700_000_001.0, "message_id": "m-2", "outcome": "discarded"}
    refused |= {"endpoint": None, "status": None, "attempts": 0, "reason": "repeat"}
    keys = ("anna", "anna", "ben")
    texts = [json.dumps(one).encode() for one in (refused, receipt, receipt)]
    log.append(RECEIPTS, [NewRecord(key, text, {}) for key, text in zip(keys, texts, strict=True)])
    assert run("status", "--person", "anna").stdout.splitlines() == [
        "2023-11-14 22:13:20  m-1  delivered  commerce/trackPurchase  HTTP 200  after 3 tries",
        "2023-11-14 22:13:21  m-2  discarded  repeat",
    ]
    assert json.loads(run("status", "--json", "--person", "Anna").stdout) == [receipt, refused]
