"""One message to Segment, as the mapping makes it and analytics-python sends it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import orjson
from segment.analytics import VERSION

# So that Segment never sends the message back to Iterable (Segment spec, integrations object).
INTEGRATIONS = {"Iterable": False}
# analytics-python writes this into the context of everything it sends.
LIBRARY = {"name": "analytics-python", "version": VERSION}
TRACK, IDENTIFY = "track", "identify"


@dataclass(frozen=True)
class SegmentMessage:
    """A `track` with its event, `body` being properties; or an `identify`, `body` being traits."""

    type: str
    event: str | None
    user_id: str | None
    anonymous_id: str | None
    body: Mapping[str, Any]
    context: Mapping[str, Any]
    timestamp: datetime
    message_id: str

    @property
    def endpoint(self) -> str:
        """analytics-python has one way out, `/v1/batch`."""
        return "batch"

    @cached_property
    def size(self) -> int:
        """Bytes at most in analytics-python's JSON: ASCII only, with a space after `:` and `,`."""
        content = orjson.dumps(self.describe())
        beyond_ascii = len(content) - len(content.decode())
        return len(content) + content.count(b",") + content.count(b":") + 4 * beyond_ascii

    def describe(self) -> dict[str, Any]:
        """The message as analytics-python sends it, nulls included."""
        message = {
            "type": self.type,
            "userId": self.user_id,
            "anonymousId": self.anonymous_id,
            "context": {**self.context, "library": LIBRARY},
            "integrations": INTEGRATIONS,
            "timestamp": self.timestamp.isoformat(timespec="milliseconds"),
            "messageId": self.message_id,
        }
        if self.type == IDENTIFY:
            return message | {"traits": dict(self.body)}
        return message | {"event": self.event, "properties": dict(self.body)}
