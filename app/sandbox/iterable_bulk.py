"""Bulk calls: every entry on its own, and an answer of counters and lists (Iterable,
users/bulkUpdate and events/trackBulk)."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from app.sandbox.iterable_people import Identity, Refused
from app.sandbox.iterable_project import CUSTOM_EVENT, Project, event_scope

# The reference names no number; integrators send at most 1,000 entries.
MAX_ENTRIES = 1000

_EVENT_LISTS = tuple(
    reason + kind
    for reason in ("invalid", "notFound", "forgotten")
    for kind in ("Emails", "UserIds")
)
_USER_LISTS = (
    *_EVENT_LISTS,
    "conflictEmails",
    "conflictUserIds",
    "invalidDataEmails",
    "invalidDataUserIds",
)

# Whatever the act gives, the fields it created and the fields it left out.
Result = tuple[Any, list[str], list[str]]


class Tally:
    """What became of the entries so far. Nothing in it has an index: as at Iterable, identifiers
    are all that names an entry."""

    def __init__(self, lists: tuple[str, ...]) -> None:
        self.successes = 0
        self.failures = 0
        self.failed: dict[str, list[str]] = {name: [] for name in lists}
        self.deprecated: dict[str, list[str]] = {"invalidEmails": [], "invalidUserIds": []}
        # Dictionaries for their keys: each name once, in the order of appearance.
        self.created: dict[str, None] = {}
        self.filtered: dict[str, None] = {}

    def enter(self, act: Callable[[], Result]) -> Refused | None:
        """Do one entry and count it. Returns why it was refused, if it was."""
        try:
            _, created, filtered = act()
        except Refused as refusal:
            self.failures += 1
            if refusal.listed is not None:
                name, value = refusal.listed
                self.failed[name].append(value)
            return refusal
        self.successes += 1
        self.created.update(dict.fromkeys(created))
        self.filtered.update(dict.fromkeys(filtered))
        return None

    def shown(self) -> dict[str, Any]:
        """The answer's body. It has no `code`."""
        return {
            "successCount": self.successes,
            "failCount": self.failures,
            **self.deprecated,
            "failedUpdates": self.failed,
            "createdFields": list(self.created),
            "filteredOutFields": list(self.filtered),
        }


def update_users(project: Project, body: Mapping[str, Any]) -> dict[str, Any]:
    """users/bulkUpdate. The deprecated lists name every entry that failed, for any reason."""
    entries = _within_bounds(body["users"])
    shared = {"createNewFields": body.get("createNewFields")}
    if project.strict_types == "batch":
        for entry in entries:
            project.check_types(entry)
    tally = Tally(_USER_LISTS)
    for entry in entries:
        refusal = tally.enter(partial(project.upsert, {**entry, **shared}))
        who = Identity.of(entry)
        if refusal is not None and who != (None, None):
            name, value = who.listed("invalid")
            tally.deprecated[name].append(value)
    return tally.shown()


def track_events(project: Project, body: Mapping[str, Any], at: float) -> dict[str, Any]:
    """events/trackBulk. The deprecated lists name malformed addresses and unknown userIds.

    Events of a disallowed name are dropped and count as successes; only their names are told.
    """
    entries = _within_bounds(body["events"])
    for entry in entries:
        project.check_types(entry, event_scope(entry["eventName"]), CUSTOM_EVENT)
    tally = Tally(_EVENT_LISTS)
    disallowed: dict[str, None] = {}
    for entry in entries:
        if entry["eventName"] in project.disallowed_events:
            disallowed[entry["eventName"]] = None
            tally.successes += 1
            continue
        tally.enter(partial(project.track, entry, at))
    tally.deprecated["invalidEmails"] = tally.failed["invalidEmails"]
    tally.deprecated["invalidUserIds"] = tally.failed["notFoundUserIds"]
    return tally.shown() | {"disallowedEventNames": list(disallowed)}


def _within_bounds(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(entries) > MAX_ENTRIES:
        raise Refused("BatchTooLarge", f"Batch too large: at most {MAX_ENTRIES} entries")
    return entries
