"""Times: Segment's in their many spellings, Iterable's in one.

Iterable's safest form is `yyyy-MM-dd HH:mm:ss +00:00`; ISO-8601 without milliseconds would be
stored as text and pin the field's type for good (Iterable, Field Data Types article).
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from app.outbound.nesting import DEEPEST, too_deep

# A whole date, alone or with a time to the minute at least. No space stands before the offset:
# what has one is Iterable's own spelling already.
_ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?P<time>[T ][0-9]{2}:?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]+)?)?"
    r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
# Segment's own batch example writes 2015-2-02, Iterable puts a space before the offset.
_LOOSE = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})-(?P<day>[0-9]{1,2})(?:[Tt ](?P<time>[0-9:.,]+))?"
    r"\s*(?P<zone>[Zz]|[+-][0-9:]{2,5})?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
# Zero and what lies before it is what SDKs send for a time that was never set.
_EARLIEST = _EPOCH + _SECOND
# Numbers above are milliseconds: as seconds they would be after the year 2969.
_LARGEST_SECONDS = 31_557_600_000


def spell(moment: datetime) -> str:
    """A moment in UTC as Iterable writes it, to the second."""
    return f"{moment.isoformat(' ', 'seconds')[:19]} +00:00"


def read(value: object) -> datetime | None:
    """The moment that a time field means, in UTC; None when it means none.

    ISO-8601 in any usual spelling (without a zone: UTC), and Unix seconds or milliseconds as a
    number or as 10 or 13 digits. 1970's first moment and all before it are none.
    """
    moment = _read_text(value) if isinstance(value, str) else _read_number(value)
    return moment if moment is not None and moment >= _EARLIEST else None


def _read_text(text: str) -> datetime | None:
    if text.isdecimal() and len(text) in (10, 13):
        return _read_number(int(text))
    try:
        return _in_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        pass
    found = _LOOSE.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day, time, zone = found.groups()
    try:
        return _in_utc(
            datetime.fromisoformat(
                f"{year}-{month:0>2}-{day:0>2}T{time or '00:00'}{(zone or 'Z').upper()}"
            )
        )
    except (ValueError, OverflowError):
        return None


def _read_number(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return _EPOCH + timedelta(seconds=value if value < _LARGEST_SECONDS else value / 1000)
    except (ValueError, OverflowError):
        return None


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is UTC:
        return moment
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def happened_at(call: Mapping[str, Any], received_at: float) -> datetime:
    """When a call happened: `timestamp`, else `originalTimestamp`, else its receipt (Unix
    seconds)."""
    return (
        read(call.get("timestamp"))
        or read(call.get("originalTimestamp"))
        or _EPOCH + timedelta(seconds=received_at)
    )


def unix_seconds(moment: datetime) -> int:
    """Whole Unix seconds, Iterable's `createdAt`."""
    return (moment - _EPOCH) // _SECOND


class DateSpeller:
    """Copies what Segment sent with every date in it spelled as Iterable wants it, at any depth."""

    def __init__(self, keep_date_only: bool) -> None:
        self._keep_date_only = keep_date_only

    def text(self, text: str) -> str:
        """`text` in Iterable's spelling when it is a whole ISO-8601 date of the calendar."""
        found = _ISO.fullmatch(text)
        if found is None or (self._keep_date_only and found["time"] is None):
            return text
        try:
            return spell(_in_utc(datetime.fromisoformat(text)))
        except (ValueError, OverflowError):
            return text

    def date(self, value: object) -> str | None:
        """What `value` says as a date of Iterable's; None when it says none (see `read`)."""
        moment = read(value)
        if moment is None:
            return None
        if self._keep_date_only and isinstance(value, str):
            found = _ISO.fullmatch(value)
            if found and found["time"] is None:
                return value
        return spell(moment)

    def mapping(self, source: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
        """A copy of an object; raises BadInput `nested_too_deep`."""
        copy = dict(source)
        for key, value in source.items():
            if isinstance(value, str):
                # The cheap look first, for nearly no string is a date.
                if len(value) > 9 and value[4] == "-":
                    copy[key] = self.text(value)
            elif isinstance(value, (dict, list)):
                copy[key] = self.value(value, depth + 1)
        return copy

    def value(self, value: Any, depth: int = 0) -> Any:
        """A copy of any value; raises BadInput `nested_too_deep`."""
        if isinstance(value, str):
            return self.text(value) if len(value) > 9 and value[4] == "-" else value
        if depth > DEEPEST:
            raise too_deep()
        if isinstance(value, dict):
            return self.mapping(value, depth)
        if isinstance(value, list):
            return [self.value(element, depth + 1) for element in value]
        return value
