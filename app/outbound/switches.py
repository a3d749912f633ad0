"""What a call itself says about where it may go: its `integrations`, and the loop guard."""

from collections.abc import Mapping
from typing import Any

from app.outbound.lookup import folded

# Segment's names of its classic and its current Iterable destination; they are case-sensitive.
_DESTINATIONS = ("Iterable", "Iterable (Actions)")
_NOTHING: Mapping[str, Any] = {}


def member(source: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object under `name`; an empty one for anything else."""
    value = source.get(name)
    return value if isinstance(value, dict) else _NOTHING


def is_loop(call: Mapping[str, Any]) -> bool:
    """Whether the event came from Iterable in the first place, as all that the bridge emits
    does."""
    context = call.get("context")
    if not context or "integration" not in context:
        return False
    name = member(context, "integration").get("name")
    return isinstance(name, str) and name.lower() == "iterable"


def is_switched_off(call: Mapping[str, Any], door: str) -> bool:
    """Whether `integrations` keeps the call from Iterable.

    `All: false` counts on the Tracking API's routes only. At the webhook Segment has filtered
    already, and Engage sends it with everything.
    """
    integrations = call.get("integrations")
    if not integrations:
        return False
    entries = [integrations.get(name) for name in _DESTINATIONS]
    if any(entry is False for entry in entries):
        return True
    default = integrations.get("All", integrations.get("all"))
    return door == "tracking" and default is False and not any(e is not None for e in entries)


def options(call: Mapping[str, Any]) -> dict[str, Any]:
    """The options under `integrations.Iterable`, by their folded names."""
    integrations = call.get("integrations")
    if not integrations:
        return {}
    found: dict[str, Any] = {}
    for name in reversed(_DESTINATIONS):
        found |= {folded(key): value for key, value in member(integrations, name).items()}
    return found
