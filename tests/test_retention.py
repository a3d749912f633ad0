"""Retention: what is delivered goes in time, what is not stays."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.log.base import (
    DEAD_LETTERS,
    ITERABLE_WEBHOOKS,
    RECEIPTS,
    SEGMENT_CALLS,
    Commit,
    NewRecord,
)
from app.log.sqlite import SqliteLog
from app.retention import RECEIPTS_KEPT, Janitor, groups
from app.settings import Settings
from tests.fake_destination import ONE_PARTITION, Faulty, Time

DAY = 86400.0
TOPICS = (SEGMENT_CALLS, ITERABLE_WEBHOOKS, RECEIPTS, DEAD_LETTERS)


class Kept:
    """A log with three records in every topic, stored a day apart, and a janitor."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.time = Time(1_700_000_000.0)
        self.log = SqliteLog(folder / "bridge.db", ONE_PARTITION, clock=self.time)
        for number in range(3):
            for topic in TOPICS:
                self.log.append(topic, [NewRecord("anna", b"%d" % number, {})])
            self.time.sleep(DAY)
        self.stop = threading.Event()
        self.janitor = Janitor(settings, self.log, self.stop, now=self.time)

    def finish(self, topic: str, group: str, offset: int) -> None:
        consumer = self.log.consume(topic, group, lambda _: None)
        consumer.poll(1, 0.0)
        consumer.commit({0: Commit(offset)})
        consumer.close()

    def left(self, topic: str) -> list[int]:
        return [record.offset for record in self.log.read(topic, 0, 0)]


SETTINGS = Settings(bridge_retention=2.5 * DAY)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path, SETTINGS)
    with closing(made.log):
        yield made


def test_what_is_delivered_leaves_after_the_retention(kept: Kept) -> None:
    kept.finish(SEGMENT_CALLS, "iterable", 3)
    kept.finish(ITERABLE_WEBHOOKS, "segment", 3)
    kept.janitor.sweep()
    assert kept.left(SEGMENT_CALLS) == [1, 2]
    assert kept.left(ITERABLE_WEBHOOKS) == [1, 2]


def test_what_is_not_delivered_never_leaves(kept: Kept) -> None:
    kept.time.sleep(1000 * DAY)
    kept.finish(SEGMENT_CALLS, "iterable", 1)
    kept.janitor.sweep()
    assert kept.left(SEGMENT_CALLS) == [1, 2]
    assert kept.left(ITERABLE_WEBHOOKS) == [0, 1, 2], "no courier has ever been there"


def test_receipts_go_after_a_day_and_dead_letters_stay(kept: Kept) -> None:
    removed = kept.janitor.sweep()
    assert removed == 2
    assert kept.left(RECEIPTS) == [2]
    kept.time.sleep(1000 * DAY)
    kept.janitor.sweep()
    assert kept.left(DEAD_LETTERS) == [0, 1, 2]


def test_receipts_are_kept_no_longer_than_records(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Settings(bridge_retention=RECEIPTS_KEPT / 24))
    with closing(kept.log):
        kept.log.append(RECEIPTS, [NewRecord("anna", b"3", {})])
        kept.time.sleep(RECEIPTS_KEPT / 20)
        kept.log.append(RECEIPTS, [NewRecord("anna", b"4", {})])
        kept.janitor.sweep()
        assert kept.left(RECEIPTS) == [4]


def test_every_group_that_is_used_must_have_finished(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Settings(bridge_retention=1.0, iterable_mobile_api_key="k"))
    with closing(kept.log):
        kept.finish(SEGMENT_CALLS, "iterable", 3)
        kept.janitor.sweep()
        assert kept.left(SEGMENT_CALLS) == [0, 1, 2]
        kept.finish(SEGMENT_CALLS, "iterable-mobile", 1)
        kept.janitor.sweep()
        assert kept.left(SEGMENT_CALLS) == [1, 2]


def test_sweeps_in_bites_until_nothing_is_left_to_remove(tmp_path: Path) -> None:
    kept = Kept(tmp_path, SETTINGS)
    with closing(kept.log):
        for _ in range(3):
            kept.log.append(RECEIPTS, [NewRecord("anna", b"x", {}) for _ in range(1000)])
        kept.time.sleep(10 * DAY)
        assert kept.janitor.sweep() == 3002
        assert kept.left(RECEIPTS) == [3002], "the newest one shows where the partition ends"


def test_a_stopped_janitor_lets_go_between_two_bites(tmp_path: Path) -> None:
    kept = Kept(tmp_path, SETTINGS)
    with closing(kept.log):
        kept.log.append(RECEIPTS, [NewRecord("anna", b"x", {}) for _ in range(1500)])
        kept.time.sleep(10 * DAY)
        kept.stop.set()
        assert kept.janitor.sweep() == 1000


def test_the_janitor_goes_on_when_the_log_is_unavailable(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.retention.EVERY", 0.001)

    class Recovering(Faulty):
        def fail(self, name: str) -> None:
            if self.failures == 2:
                self.failing.clear()
            super().fail(name)

    recovering = Recovering(kept.log)
    recovering.failing.add("trim")
    janitor = Janitor(SETTINGS, recovering, kept.stop, now=kept.time)
    runner = threading.Thread(target=janitor.run)
    runner.start()
    try:
        for _ in range(500):
            if kept.left(RECEIPTS) == [2]:
                break
            runner.join(0.01)
    finally:
        kept.stop.set()
        runner.join()
    assert kept.left(RECEIPTS) == [2]
    assert "nothing could be trimmed" in caplog.text


@pytest.mark.parametrize(
    ("settings", "outbound", "inbound"),
    [
        (Settings(), ["iterable"], ["segment"]),
        (
            Settings(iterable_mobile_api_key="k", iterable_web_api_key="k"),
            ["iterable", "iterable-mobile", "iterable-web"],
            ["segment"],
        ),
        (
            Settings(iterable_mobile_api_key="k", disable_device_on_uninstall=True),
            ["iterable", "iterable-mobile"],
            ["segment", "iterable-uninstalls"],
        ),
        (Settings(disable_device_on_uninstall=True), ["iterable"], ["segment"]),
    ],
)
def test_the_main_group_of_a_direction_counts_with_or_without_its_key(
    settings: Settings, outbound: list[str], inbound: list[str]
) -> None:
    assert groups(settings, SEGMENT_CALLS) == outbound
    assert groups(settings, ITERABLE_WEBHOOKS) == inbound
    assert groups(settings, RECEIPTS) == []
