"""One request to Iterable's API, as the mapping makes it and the client sends it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

# Which of a project's keys an endpoint wants (Iterable, API Keys article): a server-side key gets
# 401 on the token endpoints, a mobile or web key on all that touches other people.
SERVER, MOBILE, WEB = "server", "mobile", "web"


@dataclass  # never changed, but not frozen, which takes three times as long to make
class IterableRequest:
    """`endpoint` is the family that owns the rate limit (`users/update`), `path` the very address.

    `key` says which API key it needs. `refused` are the fields taken out of the body because
    Iterable refuses them, with their values, and `repairs` counts how often that was done.
    `original` is the request that a question to Iterable was asked for.
    """

    endpoint: str
    method: str
    path: str
    body: dict[str, Any] | None
    key: str = SERVER
    refused: Mapping[str, Any] = field(default_factory=dict)
    repairs: int = 0
    original: "IterableRequest | None" = None

    @cached_property
    def content(self) -> bytes:
        """The body as it goes over the wire."""
        return b"" if self.body is None else orjson.dumps(self.body)

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.content)

    def describe(self) -> dict[str, Any]:
        """For people: dead letters and `bridge preview` show it."""
        return {"method": self.method, "path": self.path, "body": self.body}


def post(endpoint: str, body: dict[str, Any], key: str = SERVER) -> IterableRequest:
    """A POST of `body`; an endpoint is the path after `/api/`."""
    return IterableRequest(endpoint, "POST", f"/api/{endpoint}", body, key)
