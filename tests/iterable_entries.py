"""Entries of bulk requests, and their outcomes in words."""

from typing import Any

import orjson

from app.outbound.answers import read
from app.outbound.bulk import BulkEntry, entry
from app.outbound.bulk_answers import settle
from app.outbound.request import IterableRequest
from app.outcomes import Delivered, Outcome

ANNA, BEN, CARL = "anna@example.com", "ben@example.com", "carl@example.com"


def user(email: str | None = None, user_id: str | None = None, /, **fields: Any) -> BulkEntry:
    body: dict[str, Any] = {"dataFields": fields}
    body |= {"email": email} if email else {}
    body |= {"userId": user_id} if user_id else {}
    made = entry(IterableRequest("users/update", "POST", "/api/users/update", body))
    assert isinstance(made, BulkEntry)
    return made


def event(name: str, email: str, /, **fields: Any) -> BulkEntry:
    body = {"email": email, "eventName": name, "dataFields": fields}
    made = entry(IterableRequest("events/track", "POST", "/api/events/track", body))
    assert isinstance(made, BulkEntry)
    return made


def settled(entries: list[BulkEntry], answer: Any, status: int = 200) -> list[Outcome]:
    return settle(entries, read(status, {}, orjson.dumps(answer), 0.0))


def reasons(outcomes: list[Outcome]) -> list[str]:
    """Each outcome in a word or two, for comparison."""
    return [
        f"{type(o).__name__} {o.notice or ''}".strip()
        if isinstance(o, Delivered)
        else f"{type(o).__name__} {o.reason}"
        for o in outcomes
    ]
