"""A stand-in for Segment's HTTP Tracking API (Segment, HTTP API source)."""

import base64
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from marshmallow import Schema, fields

from app.sandbox.forwarder import Forwarder
from app.sandbox.keys import NONE, REVOKED, Keys
from app.sandbox.ledger import Ledger
from app.sandbox.limits import Limit
from app.sandbox.standin import Control
from app.sandbox.wire import Answer, Request

# Segment answers 400 above these.
MAX_MESSAGE = 32 * 1024
MAX_BATCH = 500 * 1024
# Above this it answers 200 and takes nothing.
MAX_EVENTS = 2500

CALLS = ("identify", "track", "page", "screen", "alias", "group")
ENDPOINTS = frozenset(f"/v1/{name}" for name in (*CALLS, "batch", "import"))
REJECTED_SHOWN = 1000

_CODES = {400: "invalid_request", 401: "unauthorized", 404: "not_found", 429: "rate_limited"}
_SUCCESS = orjson.dumps({"success": True})


class _ForwardSchema(Schema):
    url = fields.Url(required=True, require_tld=False, allow_none=True)
    secret = fields.String(allow_none=True, load_default=None)


class Refused(Exception):
    """The whole request is refused."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Segment:
    """Takes Tracking API calls. An unknown write key gets 200, as at Segment; a revoked one 401."""

    name = "Segment stand-in"
    inflates = True
    limits: Mapping[str, Sequence[Limit]] = {}

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._keys = Keys([])
        self._events = Ledger()
        self._rejected: deque[dict[str, Any]] = deque(maxlen=REJECTED_SHOWN)

    def endpoint(self, request: Request) -> str:
        """The path without the slash that some SDKs put at its end."""
        path = request.path.rstrip("/")
        return path if path in ENDPOINTS else "unknown"

    def key(self, request: Request) -> str:
        """Where the write key was."""
        if "authorization" in request.headers:
            return "header"
        return "body" if b'"writeKey"' in request.body else NONE

    def answer(self, request: Request, at: float) -> Answer:
        """Store the event or events; 200 says that the request was taken, not that each event
        was."""
        try:
            endpoint = self.endpoint(request)
            if endpoint == "unknown" or request.method != "POST":
                raise Refused(404, f"{request.method} {request.path} is not there")
            body = _parse(request.body)
            self._authorize(request, body)
            events = _events(endpoint, body, len(request.body))
            for event in events:
                self._take(event, at, None if len(events) <= MAX_EVENTS else "too_many_events")
        except Refused as problem:
            refusal = {"code": _CODES[problem.status], "message": problem.message}
            return Answer(problem.status, orjson.dumps(refusal))
        return Answer(200, _SUCCESS)

    def failure(self, endpoint: str, status: int) -> Any:
        """The form that Segment's libraries look for."""
        code = _CODES.get(status, "internal_error")
        return {"code": code, "message": f"{endpoint}: failed by order with {status}"}

    def controls(self) -> Mapping[str, Control]:
        """`/keys`: {write key: any or revoked}; `/forward`: {url, secret}."""
        return {"/keys": self._keys.set, "/forward": self._set_forward}

    def shown(self, limit: int) -> dict[str, Any]:
        """Events in the order they first came, and what came again."""
        return {
            "totals": {"events": self._events.total, "repeats": self._events.repeats},
            "events": self._events.newest(limit),
            "repeats": self._events.repeated(limit),
            "rejected": list(self._rejected)[::-1][:limit],
            "forwarded": self._forwarder.counts(),
        }

    def reset(self) -> None:
        """Be as new."""
        self._keys.reset()
        self._events = Ledger()
        self._rejected.clear()
        self._forwarder.direct(None, None)

    def _set_forward(self, given: Any) -> None:
        order = _ForwardSchema().load(given)
        self._forwarder.direct(order["url"], order["secret"])

    def _authorize(self, request: Request, body: dict[str, Any]) -> None:
        key = _write_key(request, body)
        if self._keys.type(key) in (NONE, REVOKED):
            raise Refused(401, "a valid write key is needed")

    def _take(self, event: dict[str, Any], at: float, reason: str | None) -> None:
        event.pop("writeKey", None)
        id = event.get("messageId")
        if not isinstance(id, str) or not id:
            id = event["messageId"] = str(uuid.uuid4())
        reason = reason or _reason_to_reject(event)
        if reason is not None:
            self._rejected.append({"messageId": id, "reason": reason})
            return
        event["receivedAt"] = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        if self._events.enter(id, event, at, update=False):
            self._forwarder.submit(event)


def _parse(content: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as problem:
        raise Refused(400, "the body is not JSON") from problem
    if not isinstance(body, dict):
        raise Refused(400, "the body is not a JSON object")
    return body


def _write_key(request: Request, body: dict[str, Any]) -> str | None:
    """From the body, or the user name of Basic authentication (Segment, HTTP API source)."""
    key = body.get("writeKey")
    if isinstance(key, str) and key:
        return key
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[0]
    except ValueError:
        return None


def _events(endpoint: str, body: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """The events of a request; raises Refused for what Segment answers with 400."""
    kind = endpoint.rpartition("/")[2]
    if kind in CALLS:
        if size > MAX_MESSAGE:
            raise Refused(400, "the call is larger than 32 KB")
        body["type"] = kind
        return [body]
    batch = body.get("batch")
    if not isinstance(batch, list) or not all(isinstance(event, dict) for event in batch):
        raise Refused(400, "batch must be an array of objects")
    if size > MAX_BATCH:
        raise Refused(400, "the batch is larger than 500 KB")
    # Only a body above the limit can hold a message above it.
    if size > MAX_MESSAGE:
        for place, event in enumerate(batch):
            if len(orjson.dumps(event)) > MAX_MESSAGE:
                raise Refused(400, f"batch[{place}] is larger than 32 KB")
    return batch


def _reason_to_reject(event: dict[str, Any]) -> str | None:
    """Why Segment drops an event after its 200, as the source's debugger says."""
    if event.get("type") not in CALLS:
        return "unknown_type"
    if not event.get("userId") and not event.get("anonymousId"):
        return "no_user_anon_id"
    if event["type"] == "track" and not event.get("event"):
        return "no_event"
    return None
