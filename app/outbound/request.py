"""One request to Iterable's API, as the mapping makes it and the client sends it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

# Which of a project's keys an endpoint wants (Iterable, API Keys article): a server-side key gets
# 401 on the token endpoints, a mobile or web key on all that touches other people.
SERVER, MOBILE, WEB = "server", "mobile", "web"


@dataclass(frozen=True)
class IterableRequest:
    """`endpoint` is the family that owns the rate limit (`users/update`), `path` the very address.

    `key` says which API key it needs.
    """

    endpoint: str
    method: str
    path: str
    body: dict[str, Any] | None
    key: str = SERVER

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
