"""What Segment's Tracking API does for its callers and the webhook has done already.

The write key, the fields that a batch's root shares with its calls, the correction of the clock,
CORS.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from flask import Response
from werkzeug.datastructures import Headers

from app.door import parse
from app.errors import BadInput
from app.outbound import dates
from app.security import Unauthorized, basic_credentials, is_one_of

# The spelled-out paths, and the first letters that analytics.js uses.
TYPES = {
    "identify": "identify",
    "track": "track",
    "page": "page",
    "screen": "screen",
    "alias": "alias",
    "group": "group",
    "i": "identify",
    "t": "track",
    "p": "page",
    "s": "screen",
    "a": "alias",
    "g": "group",
}

WRONG_KEY = (
    "The write key is missing or wrong; give the SDK the value of BRIDGE_WRITE_KEY as its write "
    "key."
)


def has_key_in_header(authorization: str, secrets: Sequence[str]) -> bool:
    """Whether the body needs no look: no key is set, or the user name of Basic auth is it."""
    user, _ = basic_credentials(authorization)
    return not secrets or is_one_of(user, secrets)


def with_key_in_body(body: bytes, secrets: Sequence[str]) -> Any:
    """The JSON in `body` when its `writeKey` is right. Raises Unauthorized."""
    try:
        content = parse(body)
    except BadInput:
        raise Unauthorized(WRONG_KEY) from None
    key = content.get("writeKey") if isinstance(content, dict) else None
    if not isinstance(key, str) or not is_one_of(key, secrets):
        raise Unauthorized(WRONG_KEY)
    return content


def shared(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What a batch's root says for every call in it (Segment, HTTP Tracking API)."""
    return {name: batch[name] for name in ("context", "integrations", "sentAt") if batch.get(name)}


def complete(item: Any, shared_fields: Mapping[str, Any]) -> Any:
    """The call with the shared fields in it, its own taking precedence, and without the write
    key."""
    if not isinstance(item, dict):
        return item
    call = item.copy()
    call.pop("writeKey", None)
    for name, value in shared_fields.items():
        own = call.get(name)
        if isinstance(value, dict) and isinstance(own, dict):
            call[name] = {**value, **own}
        elif own is None or name == "type":
            call[name] = value
    return call


def correct_clock(call: dict[str, Any], received_at: float) -> None:
    """Replace the sender's `timestamp` by ours: receivedAt - (sentAt - originalTimestamp).

    The sender's clock may be wrong, but the time it took between the two is right (Segment spec,
    common fields). Without a usable `sentAt` there is nothing to correct by. A call that has been
    through Segment already brings its own `receivedAt`, and keeps the time that Segment gave it.
    """
    received = dates.read(call.get("receivedAt")) if "receivedAt" in call else None
    if received is None:
        received, call["receivedAt"] = _moment(received_at)
    sent = dates.read(call.get("sentAt")) if "sentAt" in call else None
    if sent is None:
        return
    original = dates.read(call.get("originalTimestamp")) or dates.read(call.get("timestamp"))
    if original is None:
        return
    try:
        corrected = received - (sent - original)
    except OverflowError:  # a clock so wrong that the calendar ends
        return
    if not call.get("originalTimestamp"):
        call["originalTimestamp"] = call["timestamp"]
    call["timestamp"] = _written(corrected)


@lru_cache(maxsize=16)  # all calls of an array came at the same moment
def _moment(unix_seconds: float) -> tuple[datetime, str]:
    moment = datetime.fromtimestamp(unix_seconds, UTC)
    return moment, _written(moment)


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def add_cors(response: Response, asked: Headers) -> None:
    """Let a page of any site read the answer; the SDK may send `Authorization` and its own headers.

    The origin is named rather than `*`, which browsers refuse when a site sends credentials along.
    """
    origin = asked["Origin"]
    headers = response.headers
    headers["Access-Control-Allow-Origin"] = origin
    headers["Access-Control-Allow-Credentials"] = "true"
    headers["Access-Control-Expose-Headers"] = "Retry-After"
    headers.add("Vary", "Origin")
    wanted = asked.get("Access-Control-Request-Headers")
    if wanted:
        headers["Access-Control-Allow-Headers"] = wanted
        headers["Access-Control-Allow-Methods"] = "POST"
        headers["Access-Control-Max-Age"] = "86400"
