"""When an Iterable event happened."""

from contextlib import suppress
from datetime import UTC, datetime

# Iterable's webhooks give text, its API Unix seconds, other senders milliseconds. Up to here a
# number is seconds (the year 5138); as milliseconds it would lie before 1973.
_SECONDS_UP_TO = 1e11


def event_time(created_at: object, received_at: float) -> datetime:
    """`createdAt` as a time in UTC; the receipt (Unix seconds) where it is no usable time.

    Takes `2016-12-02 20:21:04 +00:00`, ISO-8601 (UTC when it names no zone) and epoch numbers.
    """
    # An impossible date, or one beyond what a calendar holds, is no usable time.
    with suppress(ValueError, OverflowError, OSError):
        if isinstance(created_at, str):
            return _from_text(created_at.strip())
        if type(created_at) in (int, float):
            return _from_number(created_at)  # type: ignore[arg-type] # an exact type does not narrow
    return datetime.fromtimestamp(received_at, UTC)


def _from_text(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _from_number(number: float) -> datetime:
    if number <= 0:
        raise ValueError("not a time at which an event could happen")
    return datetime.fromtimestamp(number if number < _SECONDS_UP_TO else number / 1000, UTC)
