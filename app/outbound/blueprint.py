"""The outbound door: Segment's calls come in here, by webhook or from any Segment SDK."""

import time
from collections.abc import Mapping
from typing import Any

import orjson
from flask import Blueprint, Response, request

from app.door import (
    Environ,
    Judged,
    answer,
    parse,
    receive,
    refuse_item,
    take_many,
    take_one,
    unpacked,
)
from app.errors import BadInput
from app.log.base import SEGMENT_CALLS, NewRecord
from app.outbound import tracking
from app.outbound.identity import message_id, person
from app.outbound.mapping import CallMapper
from app.outbound.nesting import too_deep
from app.outbound.schemas import check_batch, check_call
from app.outcomes import Discarded
from app.security import Unauthorized, first_element, is_signed
from app.settings import Settings
from app.state import state

outbound = Blueprint("outbound", __name__)

JSON_ONLY = ["application/json", "+json"]
# analytics.js and Kotlin send their JSON as text/plain, which spares browsers a pre-flight.
SDK_TYPES = ["application/json", "text/plain", "+json"]


@outbound.route("/segment", methods=["POST", "PUT", "PATCH"])
def receive_from_webhook() -> Response:
    """Segment's Webhooks destination: one call, or an array of calls."""
    bridge, environ = state(), request.environ
    limit = bridge.settings.bridge_max_body
    received = receive(environ, JSON_ONLY, limit)
    body = unpacked(environ, received, limit)
    authenticate_webhook(bridge.settings, received, body)
    calls = parse(body)
    judge = Judge(bridge.calls, "segment", time.time())
    if isinstance(calls, list):
        return take_many(bridge.log, SEGMENT_CALLS, calls, judge)
    return take_one(environ, bridge.log, SEGMENT_CALLS, judge(calls))


def authenticate_webhook(settings: Settings, received: bytes, body: bytes) -> None:
    """Raise Unauthorized unless the body as received, or its first element, is signed.

    `body` is the same inflated: Segment signs its JSON, whoever compresses it on the way.
    """
    secrets = settings.segment_shared_secret
    if not secrets:
        return
    signature = request.headers.get("X-Signature", "")
    if is_signed(body, signature, secrets) or is_signed(received, signature, secrets):
        return
    first = first_element(body)
    if first is None or not is_signed(first, signature, secrets):
        raise Unauthorized(
            "The X-Signature is missing or wrong; the shared secret in Segment and "
            "SEGMENT_SHARED_SECRET must be the same."
        )


def receive_from_sdk(kind: str) -> Response:
    """A single call of Segment's Tracking API, of the type that its path names."""
    bridge, environ = state(), request.environ
    call = parse_authenticated(environ, bridge.settings)
    judge = Judge(bridge.calls, "tracking", time.time(), {"type": kind})
    return take_one(environ, bridge.log, SEGMENT_CALLS, judge(call))


# A route for each path, with and without a slash at its end: unlike a pattern for all of them,
# it is found in one look-up.
for _path, _kind in tracking.TYPES.items():
    outbound.add_url_rule(
        f"/v1/{_path}",
        view_func=receive_from_sdk,
        methods=["POST"],
        defaults={"kind": _kind},
        strict_slashes=False,
    )


@outbound.post("/v1/batch", strict_slashes=False)
@outbound.post("/v1/b", strict_slashes=False)
@outbound.post("/v1/import", strict_slashes=False)
def receive_batch() -> Response:
    """A batch of the Tracking API; what stands at its root holds for every call in it."""
    bridge = state()
    batch = check_batch(parse_authenticated(request.environ, bridge.settings))
    judge = Judge(bridge.calls, "tracking", time.time(), tracking.shared(batch))
    return take_many(bridge.log, SEGMENT_CALLS, batch["batch"], judge)


@outbound.post("/v1/m", strict_slashes=False)
def receive_metrics() -> Response:
    """Counters that analytics.js keeps of itself; they carry no key and nobody's data."""
    return answer({"success": True, "discarded": "sdk_metrics"})


def parse_authenticated(environ: Environ, settings: Settings) -> Any:
    """The request's JSON, once its write key is known to be right; raises Unauthorized."""
    limit, secrets = settings.bridge_max_body, settings.bridge_write_key
    body = unpacked(environ, receive(environ, SDK_TYPES, limit), limit)
    if tracking.has_key_in_header(environ.get("HTTP_AUTHORIZATION", ""), secrets):
        return parse(body)
    return tracking.with_key_in_body(body, secrets)


@outbound.after_request
def allow_browsers(response: Response) -> Response:
    """CORS: a browser may call the Tracking API from any site (the write key is what counts)."""
    environ = request.environ
    if "HTTP_ORIGIN" in environ and environ["PATH_INFO"].startswith("/v1/"):
        tracking.add_cors(response, request.headers)
    return response


class Judge:
    """Looks at calls received at `received_at` (Unix seconds) through `door`.

    `shared` are fields that hold for each call: its type by the path, or what the batch's root
    says.
    """

    def __init__(
        self,
        mapper: CallMapper,
        door: str,
        received_at: float,
        shared: Mapping[str, Any] | None = None,
    ) -> None:
        self._mapper = mapper
        self._door = door
        self._received_at = received_at
        self._shared = shared or {}
        self._headers = {"received-at": repr(received_at), "door": door}

    def __call__(self, item: Any) -> Judged:
        """Check and map a call as delivery will, so that what cannot be mapped is refused now."""
        call_id: str | None = None
        whole = tracking.complete(item, self._shared)
        try:
            call = check_call(whole)
            call_id = call["messageId"] = message_id(call)
            if self._door == "tracking":
                tracking.correct_clock(call, self._received_at)
            mapped = self._mapper.map(call, self._received_at, self._door)
            if isinstance(mapped, Discarded):
                return Judged(call_id, discarded=mapped.reason)
            body = orjson.dumps(call)
        except BadInput as error:
            return refuse_item(whole, call_id, self._headers, error)
        except orjson.JSONEncodeError:
            return refuse_item(whole, call_id, self._headers, too_deep())
        return Judged(
            call_id, NewRecord(person(call), body, {"message-id": call_id, **self._headers})
        )
