"""The outbound door: Segment's calls come in here, by webhook or from any Segment SDK."""

import time
from collections.abc import Mapping
from typing import Any

import orjson
from flask import Blueprint, Response, request

from app.door import (
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
from app.state import state

outbound = Blueprint("outbound", __name__)

JSON_ONLY = ["application/json", "+json"]
# analytics.js and Kotlin send their JSON as text/plain, which spares browsers a pre-flight.
SDK_TYPES = ["application/json", "text/plain", "+json"]


@outbound.route("/segment", methods=["POST", "PUT", "PATCH"])
def receive_from_webhook() -> Response:
    """Segment's Webhooks destination: one call, or an array of calls."""
    received = receive(JSON_ONLY)
    body = unpacked(received)
    authenticate_webhook(received, body)
    calls = parse(body)
    judge = Judge(state().calls, "segment", time.time())
    if isinstance(calls, list):
        return take_many(state().log, SEGMENT_CALLS, calls, judge)
    return take_one(state().log, SEGMENT_CALLS, judge(calls))


def authenticate_webhook(received: bytes, body: bytes) -> None:
    """Raise Unauthorized unless the body as received, or its first element, is signed.

    `body` is the same inflated: Segment signs its JSON, whoever compresses it on the way.
    """
    secrets = state().settings.segment_shared_secret
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


@outbound.post(f"/v1/<any({tracking.SINGLE_PATHS}):path>")
@outbound.post(f"/v1/<any({tracking.SINGLE_PATHS}):path>/")
def receive_from_sdk(path: str) -> Response:
    """A single call of Segment's Tracking API, under its full name or analytics.js's short one."""
    call = parse_authenticated()
    judge = Judge(state().calls, "tracking", time.time(), {"type": tracking.TYPES[path]})
    return take_one(state().log, SEGMENT_CALLS, judge(call))


@outbound.post("/v1/<any(batch,b,import):path>")
@outbound.post("/v1/<any(batch,b,import):path>/")
def receive_batch(path: str) -> Response:
    """A batch of the Tracking API; what stands at its root holds for every call in it."""
    batch = check_batch(parse_authenticated())
    judge = Judge(state().calls, "tracking", time.time(), tracking.shared(batch))
    return take_many(state().log, SEGMENT_CALLS, batch["batch"], judge)


@outbound.post("/v1/m")
@outbound.post("/v1/m/")
def receive_metrics() -> Response:
    """Counters that analytics.js keeps of itself; they carry no key and nobody's data."""
    return answer({"success": True, "discarded": "sdk_metrics"})


def parse_authenticated() -> Any:
    """The request's JSON, once its write key is known to be right; raises Unauthorized."""
    body = unpacked(receive(SDK_TYPES))
    secrets = state().settings.bridge_write_key
    if tracking.has_key_in_header(request.environ.get("HTTP_AUTHORIZATION", ""), secrets):
        return parse(body)
    return tracking.with_key_in_body(body, secrets)


@outbound.after_request
def allow_browsers(response: Response) -> Response:
    """CORS: a browser may call the Tracking API from any site (the write key is what counts)."""
    if "HTTP_ORIGIN" in request.environ and request.path.startswith("/v1/"):
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
