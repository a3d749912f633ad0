"""`INBOUND_PROPERTIES=spec`: the properties that Segment's email and mobile specs ask for."""

from collections.abc import Callable, Mapping
from typing import Any

from app.inbound.events import EventType

# Email spec. Iterable's own Segment source sends these for every channel, so they are not limited
# to email here. The ids stay numbers although the spec writes them as text: `campaignId` goes out
# beside `campaign_id`, both land in one warehouse column, and Segment fixes a column's type by the
# first value it sees. A text would contradict the number of the same event, and the tables that
# Iterable's own source has filled.
_EMAIL_SPEC = {
    "email_id": ("emailId",),
    "email_subject": ("emailSubject",),
    "campaign_id": ("campaignId",),
    "campaign_name": ("campaignName",),
    "link_id": ("linkId", "canonicalUrlId"),
    "link_url": ("linkUrl", "url"),
    "list_id": ("emailListId", "emailListIds", "userListIds"),
}


def spec_properties(event: EventType, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The spec's properties for what the webhook's dataFields hold, without the absent ones."""
    found = {name: _first(fields, sources) for name, sources in _EMAIL_SPEC.items()}
    found |= {name: _MOBILE_SPEC[name](fields) for name in event.mobile_spec}
    return {name: value for name, value in found.items() if value is not None}


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first field that has a value; of a list (of list ids) its first item."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, list):
            value = value[0] if value else None
        if value not in (None, ""):
            return value
    return None


def _campaign(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Segment mobile spec: medium is `Push`, content the notification's text."""
    campaign = {
        "name": fields.get("campaignName"),
        "medium": "Push",
        "content": fields.get("pushMessage"),
    }
    return {name: value for name, value in campaign.items() if value not in (None, "")}


def _action(fields: Mapping[str, Any]) -> Any:
    """The button that was tapped; `Open` is the mobile spec's default."""
    return fields.get("actionIdentifier") or "Open"


_MOBILE_SPEC: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "campaign": _campaign,
    "action": _action,
}
