"""Pure: an Iterable webhook → the messages that Segment gets."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from app.inbound.events import EVENT_TYPES, EventType, unknown_event
from app.inbound.identify import changed_traits
from app.inbound.identity import Identity, identity
from app.inbound.message import IDENTIFY, TRACK, SegmentMessage
from app.inbound.spec import spec_properties
from app.inbound.times import event_time
from app.outcomes import Discarded
from app.settings import Settings

# The bridge's own: Segment tells repeats by messageId over all its customers' sources, so ids made
# from content must not meet anybody else's (Segment, Handling Duplicate Data).
NAMESPACE = uuid.UUID("7d1d40a8-9398-48fe-8e88-d500fbefc631")

# Partner sources say where their events come from; the outbound mapping knows its own by it.
INTEGRATION = {"name": "Iterable", "version": "1.0.0"}

# Identity belongs to the message itself, and itblInternal is Iterable's bookkeeping.
_NOT_PROPERTIES = frozenset({"email", "userId", "itblInternal"})
_OWN_CONTEXT = ("ip", "userAgent")


class WebhookMapper:
    """Maps webhooks that `app.inbound.schemas.check_webhook` has let pass."""

    def __init__(self, settings: Settings) -> None:
        self._spec = settings.inbound_properties == "spec"
        self._identify = settings.inbound_identify
        self._types = {event.iterable.lower(): event for event in EVENT_TYPES}
        renames = settings.inbound.rename_events
        self._renames = {name.lower(): new for name, new in renames.items()}
        self._denied = frozenset(name.lower() for name in settings.inbound.deny_events)

    def map(
        self, webhook: Mapping[str, Any], received_at: float
    ) -> tuple[SegmentMessage, ...] | Discarded:
        """The track call for a webhook received at `received_at` (Unix seconds).

        With INBOUND_IDENTIFY an identify follows it where a trait changed. Discarded with
        `event_denied` when `[inbound].deny_events` names the event.
        """
        event_name: str = webhook["eventName"]
        event = self._types.get(event_name.lower()) or unknown_event(event_name)
        if not self._denied.isdisjoint((event_name.lower(), event.segment.lower())):
            return Discarded("event_denied")
        fields = webhook.get("dataFields") or {}
        time = event_time(fields.get("createdAt"), received_at)
        who = identity(webhook) or Identity(None, None, None)
        track = self._track(event, fields, who, time, self.message_id(webhook))
        traits = changed_traits(event_name, fields, time) if self._identify else None
        return (track,) if traits is None else (track, _identify(track, traits))

    def person(self, webhook: Mapping[str, Any]) -> str:
        """Whose order the webhook keeps in the log: the userId, else the address in lower case."""
        who = identity(webhook) or Identity(None, None, None)
        return who.user_id or (who.anonymous_id or "").lower()

    def message_id(self, webhook: Mapping[str, Any]) -> str:
        """The same for the same webhook, however often and wherever it is received."""
        canonical = orjson.dumps(webhook, option=orjson.OPT_SORT_KEYS)
        return str(uuid.uuid5(NAMESPACE, canonical.decode()))

    def _track(
        self,
        event: EventType,
        fields: Mapping[str, Any],
        who: Identity,
        time: datetime,
        message_id: str,
    ) -> SegmentMessage:
        properties = {name: fields[name] for name in fields if name not in _NOT_PROPERTIES}
        context: dict[str, Any] = {"integration": INTEGRATION}
        if who.email:
            context["traits"] = {"email": who.email}
        if event.own_action:
            context |= _own_context(properties)
        if self._spec:
            properties = spec_properties(event, fields) | properties
        return SegmentMessage(
            type=TRACK,
            event=self._name(event),
            user_id=who.user_id,
            anonymous_id=who.anonymous_id,
            body=properties,
            context=context,
            timestamp=time,
            message_id=message_id,
        )

    def _name(self, event: EventType) -> str:
        """`[inbound].rename_events` may use Iterable's name or Segment's."""
        renamed = self._renames.get(event.iterable.lower())
        return renamed or self._renames.get(event.segment.lower(), event.segment)


def _own_context(properties: dict[str, Any]) -> dict[str, Any]:
    """What describes the person at the moment of an open or a click.

    ip and userAgent move over (Iterable's own source sends them in the context only), the campaign
    is named in both places.
    """
    context: dict[str, Any] = {
        name: properties.pop(name)
        for name in _OWN_CONTEXT
        if isinstance(properties.get(name), str) and properties[name].strip()
    }
    campaign = {"name": properties.get("campaignName"), "id": properties.get("campaignId")}
    campaign = {name: value for name, value in campaign.items() if value not in (None, "")}
    return context | {"campaign": campaign} if campaign else context


def _identify(track: SegmentMessage, traits: Mapping[str, Any]) -> SegmentMessage:
    context = {
        name: track.context[name] for name in ("integration", "traits") if name in track.context
    }
    return SegmentMessage(
        type=IDENTIFY,
        event=None,
        user_id=track.user_id,
        anonymous_id=track.anonymous_id,
        body=traits,
        context=context,
        timestamp=track.timestamp,
        message_id=str(uuid.uuid5(uuid.UUID(track.message_id), IDENTIFY)),
    )
