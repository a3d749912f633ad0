"""Uninstalled apps: Iterable reports one by webhook, its token is disabled at Iterable.

Switched on by DISABLE_DEVICE_ON_UNINSTALL. It reads Iterable's webhooks and calls Iterable, so that
the inbound room need not know of it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import orjson

from app.log.base import ITERABLE_WEBHOOKS, Record
from app.outbound.answers import judge
from app.outbound.iterable import IterableClient, endpoints
from app.outbound.request import MOBILE, IterableRequest
from app.outcomes import Dead, Discarded, Outcome, Retry, Step
from app.settings import Settings

ENDPOINT = "users/disableDevice"


class UninstallDestination:
    """Every pushUninstall webhook disables its device; the other webhooks need nothing."""

    direction = "outbound"
    topic = ITERABLE_WEBHOOKS
    group = "iterable-uninstalls"

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._client = IterableClient(settings, MOBILE, clock)
        self.endpoints = {ENDPOINT: endpoints(settings)[ENDPOINT]}

    def prepare(self, record: Record) -> Sequence[Step] | Discarded | Dead:
        """The request that disables the token, if the webhook is about one."""
        try:
            webhook = orjson.loads(record.value or b"")
        except orjson.JSONDecodeError:
            return Dead("invalid_json")
        name = webhook.get("eventName") if isinstance(webhook, dict) else None
        if str(name).lower() != "pushuninstall":
            return ()
        fields = webhook.get("dataFields")
        token = device_token(fields if isinstance(fields, dict) else {})
        if token is None:
            return Discarded("no_device_token")
        # Without a user: the app is gone from the device, whoever was logged in there.
        body = {"token": token}
        return (IterableRequest(ENDPOINT, "POST", f"/api/{ENDPOINT}", body, MOBILE),)

    def deliver(self, endpoint: str, steps: Sequence[Step]) -> list[Outcome]:
        """Send each step in a request of its own."""
        return [self._deliver(cast(IterableRequest, step)) for step in steps]

    def _deliver(self, request: IterableRequest) -> Outcome:
        reply = self._client.send(request.method, request.path, request.content)
        return reply if isinstance(reply, Retry) else judge(reply, request)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def device_token(fields: Mapping[str, Any]) -> str | None:
    """The token among a webhook's `dataFields`, None without one.

    Iterable documents `platformEndpoint` only, and not what it holds. Where it is an address in
    Amazon's push service (`arn:aws:sns:…`) it is not the token that registerDeviceToken took.
    """
    for name in ("token", "deviceToken", "platformEndpoint"):
        value = fields.get(name)
        if isinstance(value, str) and value.strip() and not value.startswith("arn:"):
            return value.strip()
    return None
