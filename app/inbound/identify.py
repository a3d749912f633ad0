"""`INBOUND_IDENTIFY=true`: the traits that a subscription event or an uninstall changes."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

# Iterable's names for what somebody can be subscribed to, and ours within the trait's name.
_SCOPES = {
    "channelIds": "channel",
    "messageTypeIds": "message_type",
    "emailListIds": "list",
    "userListIds": "list",
    "emailListId": "list",
}


def changed_traits(
    event_name: str, fields: Mapping[str, Any], time: datetime
) -> dict[str, Any] | None:
    """The traits for an Iterable event name (in any case); None when it changes none.

    A subscription is one to certain channels, message types and lists, on any medium, so each of
    them has a trait: `iterable_channel_27447_subscribed`. Only an event that names none of them is
    about everything: `iterable_subscribed`.
    An uninstall is one device's; others may still have the app. So it leaves a time
    (`iterable_app_uninstalled_at`), not a switch that nothing would ever turn back.
    """
    change = _CHANGES.get(event_name.lower())
    return change(fields, time) if change else None


def _subscriptions(fields: Mapping[str, Any], subscribed: bool) -> dict[str, Any]:
    names = [
        f"iterable_{scope}_{number}_subscribed"
        for field, scope in _SCOPES.items()
        for number in _numbers(fields.get(field))
    ]
    return dict.fromkeys(names or ["iterable_subscribed"], subscribed)


def _numbers(value: object) -> Iterator[int]:
    """Ids arrive as a list, and as a single number in some of Iterable's examples."""
    for item in value if isinstance(value, list) else [value]:
        if type(item) is int:
            yield item


_CHANGES: Mapping[str, Callable[[Mapping[str, Any], datetime], dict[str, Any]]] = {
    "emailsubscribe": lambda fields, _: _subscriptions(fields, subscribed=True),
    "emailunsubscribe": lambda fields, _: _subscriptions(fields, subscribed=False),
    "pushuninstall": lambda _, time: {
        "iterable_app_uninstalled_at": time.isoformat(timespec="seconds")
    },
}
