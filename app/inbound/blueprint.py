"""The inbound door: Iterable's system webhooks come in here and are stored."""

import time
from typing import Any

import orjson
from flask import Blueprint, Response, request

from app.door import Judged, parse, receive, refuse_item, take_many, take_one, unpacked
from app.errors import BadInput
from app.inbound.mapping import WebhookMapper
from app.inbound.schemas import check_webhook
from app.log.base import ITERABLE_WEBHOOKS, NewRecord
from app.outcomes import Discarded
from app.security import Unauthorized, is_one_of, webhook_tokens
from app.settings import Settings
from app.state import state

inbound = Blueprint("inbound", __name__)

JSON_ONLY = ["application/json", "+json"]


@inbound.post("/iterable")
def receive_webhook() -> Response:
    """One webhook, or an array of them (Iterable sends one; an array costs nothing to take)."""
    bridge, environ = state(), request.environ
    authenticate(bridge.settings)
    limit = bridge.settings.bridge_max_body
    webhook = parse(unpacked(environ, receive(environ, JSON_ONLY, limit), limit))
    judge = Judge(bridge.webhooks, time.time())
    if isinstance(webhook, list):
        return take_many(bridge.log, ITERABLE_WEBHOOKS, webhook, judge)
    return take_one(environ, bridge.log, ITERABLE_WEBHOOKS, judge(webhook))


def authenticate(settings: Settings) -> None:
    """Raise Unauthorized unless one of the sender's tokens is one of ours (several while
    rotating)."""
    secrets = settings.iterable_webhook_token
    if not secrets:
        return
    headers = request.headers
    given = webhook_tokens(headers.get("Authorization", ""), headers.get("X-Webhook-Token", ""))
    if not any(is_one_of(token, secrets) for token in given):
        raise Unauthorized(
            "The webhook token is missing or wrong; send ITERABLE_WEBHOOK_TOKEN in the header "
            "Authorization or X-Webhook-Token."
        )


class Judge:
    """Looks at webhooks received at `received_at` (Unix seconds)."""

    def __init__(self, mapper: WebhookMapper, received_at: float) -> None:
        self._mapper = mapper
        self._received_at = received_at
        self._headers = {"received-at": repr(received_at)}

    def __call__(self, item: Any) -> Judged:
        """Check and map a webhook as delivery will, so that what cannot be mapped is refused
        now."""
        message_id: str | None = None
        try:
            webhook = check_webhook(item)
            message_id = self._mapper.message_id(webhook)
            mapped = self._mapper.map(webhook, self._received_at)
        except BadInput as error:
            return refuse_item(item, message_id, self._headers, error)
        if isinstance(mapped, Discarded):
            return Judged(message_id, discarded=mapped.reason)
        headers = {"message-id": message_id, **self._headers}
        key = self._mapper.person(webhook)
        return Judged(message_id, NewRecord(key, orjson.dumps(webhook), headers))
