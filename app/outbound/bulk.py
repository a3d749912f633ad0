"""Bulk requests: single requests become entries, and entries that may go together one body."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import orjson

from app.outbound.request import IterableRequest

USERS, EVENTS = "users/bulkUpdate", "events/trackBulk"

# The documented 4,000,000 bytes, less the commas and the frame around the entries.
MOST_BYTES = 3_900_000
# Not documented; what Iterable's own import tool and the other integrations send.
MOST_ENTRIES = 1_000

_ARRAYS = {USERS: "users", EVENTS: "events"}
_BULK_OF = {"users/update": USERS, "events/track": EVENTS}
_SINGLE_OF = {bulk: single for single, bulk in _BULK_OF.items()}


@dataclass  # see IterableRequest
class BulkEntry(IterableRequest):
    """A request on its way in company; `body` is its entry in the bulk request's array.

    `create_new_fields` is an option of the whole request at users/bulkUpdate.
    """

    create_new_fields: bool | None = None

    def single(self) -> IterableRequest:
        """The same as a request of its own, whose answer says exactly what is wrong."""
        own = {f.name: getattr(self, f.name) for f in fields(IterableRequest)}
        endpoint = _SINGLE_OF[self.endpoint]
        body = dict(self.body or {})
        if self.create_new_fields is not None:
            body["createNewFields"] = self.create_new_fields
        return IterableRequest(
            **{**own, "endpoint": endpoint, "path": f"/api/{endpoint}", "body": body}
        )

    def describe(self) -> dict[str, Any]:
        """For people: the bulk request as it would be with this entry alone."""
        return {"method": "POST", "path": self.path, "body": orjson.loads(compose([self]))}


def entry(request: IterableRequest) -> IterableRequest:
    """The request as a bulk entry, or the request itself where there is no bulk endpoint for it."""
    endpoint = _BULK_OF.get(request.endpoint)
    if endpoint is None:
        return request
    body, option = dict(request.body or {}), None
    if endpoint == USERS:
        option = body.pop("createNewFields", None)
    return BulkEntry(
        endpoint=endpoint,
        method="POST",
        path=f"/api/{endpoint}",
        body=body,
        key=request.key,
        create_new_fields=option,
    )


def company(entries: Sequence[BulkEntry]) -> list[int]:
    """Which of the entries can share one request: the most that agree in createNewFields."""
    groups: dict[bool | None, list[int]] = defaultdict(list)
    for index, each in enumerate(entries):
        groups[each.create_new_fields].append(index)
    return max(groups.values(), key=len)


def compose(entries: Sequence[BulkEntry]) -> bytes:
    """The body of one bulk request; the entries agree in endpoint and createNewFields."""
    array, option = _ARRAYS[entries[0].endpoint], entries[0].create_new_fields
    end = b"]}" if option is None else b'],"createNewFields":' + orjson.dumps(option) + b"}"
    return b'{"' + array.encode() + b'":[' + b",".join(e.content for e in entries) + end
