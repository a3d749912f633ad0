"""Dead letters on their way into the log: a record is finished only once its letter is durable."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app import deadletters
from app.courier.ledger import Ledger
from app.courier.parcel import Parcel
from app.log.base import DEAD_LETTERS, Log, NewRecord


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, and how its record ends: `dead`, or `delivered` but for some fields."""

    record: NewRecord
    parcel: Parcel
    reason: str
    verdict: str


class Letters:
    """Gathers the dead letters of one consumer group and stores them."""

    def __init__(self, log: Log, group: str) -> None:
        self._log = log
        self._group = group
        self._waiting: list[Letter] = []

    def write(
        self,
        parcel: Parcel,
        reason: str,
        verdict: str,
        details: Mapping[str, Any],
        now: float,
    ) -> None:
        """Write the letter of a record. `now` is Unix time."""
        dead, answer = parcel.record, parcel.answer
        shown = {"status": answer.status, "body": answer.body} if answer else None
        record = deadletters.write(
            reason=reason,
            topic=dead.topic,
            key=dead.key,
            headers=dead.headers,
            body=dead.value or b"",
            place=f"{dead.topic}/{dead.partition}/{dead.offset}/{self._group}",
            now=now,
            details={**details, "answer": shown, "attempts": parcel.tries, "group": self._group},
        )
        self._waiting.append(Letter(record, parcel, reason, verdict))

    def store(self) -> list[Letter]:
        """Make the letters durable and return them. Raises LogUnavailable; then they are kept."""
        if not self._waiting:
            return []
        self._log.append(DEAD_LETTERS, [letter.record for letter in self._waiting])
        stored, self._waiting = self._waiting, []
        return stored

    def drop(self, ledger: Ledger) -> None:
        """Forget the letters of a partition that was given away; its new owner writes them."""
        self._waiting = [letter for letter in self._waiting if letter.parcel.ledger is not ledger]
