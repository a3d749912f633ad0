"""What became of each record, kept for a short while: for `bridge status` and for support
questions."""

import logging
from typing import Any

import orjson

from app.courier.parcel import Parcel
from app.log.base import RECEIPTS, Log, LogUnavailable, NewRecord

logger = logging.getLogger("bridge.receipts")


class Receipts:
    """Receipts are gathered and stored together with the next commit.

    They are a convenience, not a promise: when the log cannot take them, delivery goes on.
    """

    def __init__(self, log: Log, direction: str) -> None:
        self._log = log
        self._direction = direction
        self._waiting: list[NewRecord] = []

    def add(self, parcel: Parcel, outcome: str, reason: str | None, now: float) -> None:
        """Note the end of a record. `now` is Unix time; times in a receipt are seconds."""
        record = parcel.record
        receipt = {
            "at": round(now, 3),
            "direction": self._direction,
            "outcome": outcome,
            "reason": reason,
            "person": record.key,
            "message_id": record.headers.get("message-id"),
            "endpoint": parcel.step.endpoint if parcel.steps else None,
            "status": parcel.answer.status if parcel.answer else None,
            "attempts": parcel.tries,
            "latency": round(parcel.took, 4),
            "waited": round(now - record.appended_at, 4),
        }
        self._waiting.append(NewRecord(record.key, orjson.dumps(receipt), {}))

    def store(self) -> None:
        """Append what was gathered."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        try:
            self._log.append(RECEIPTS, waiting)
        except LogUnavailable as error:
            logger.warning("%d receipts could not be kept: %s", len(waiting), error)


def of_person(log: Log, person: str) -> list[dict[str, Any]]:
    """The receipts of a person (a userId, or an email address), oldest first.

    Looks at every receipt there is, which takes a second for some 100,000.
    """
    found = [
        orjson.loads(record.value or b"{}")
        for partition in range(log.partitions(RECEIPTS))
        for record in log.read(RECEIPTS, partition, 0)
        if record.key in (person, person.lower())
    ]
    return sorted(found, key=lambda receipt: float(receipt["at"]))
