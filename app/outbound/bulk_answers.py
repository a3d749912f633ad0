"""The answers to bulk requests, taken apart into one outcome for each entry.

A bulk endpoint answers 200 even when every entry failed, and says who failed by email address,
userId or event name only (Iterable, UserBulkUpdateListResponse and BulkTrackResponse). What it
counts as failed must be accounted for to the last entry; otherwise nobody who is left is taken for
delivered.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from app.outbound.answers import Reply, judge
from app.outbound.bulk import EVENTS, USERS, BulkEntry
from app.outcomes import Answer, Dead, Delivered, Outcome, Retry


def settle(entries: Sequence[BulkEntry], reply: Reply) -> list[Outcome]:
    """One outcome for each entry of a bulk request, in their order."""
    whole = judge(reply, entries[0])
    # A disallowed event name in the message concerns some entries; the counters tell which.
    if not isinstance(whole, Delivered) and not (isinstance(whole, Dead) and reply.status < 300):
        return _refused_together(entries, reply, whole)
    counters = reply.json if isinstance(reply.json, dict) else {}
    return _Reconciliation(entries, reply, counters).outcomes()


_NAMED = re.compile(r"\b(?:users|events)\[(\d+)\]", re.ASCII)


def _refused_together(entries: Sequence[BulkEntry], reply: Reply, whole: Outcome) -> list[Outcome]:
    """One bad entry rejects all: find it, or halve the company until it stands alone."""
    if len(entries) == 1:
        return [whole]
    if reply.code == "BadJsonBody":
        named = {int(i) for path in reply.params for i in _NAMED.findall(path)}
        if named and max(named) < len(entries):
            rest = Retry("bad_json_body", reply.answer, after=0)
            return [whole if i in named else rest for i in range(len(entries))]
    if isinstance(whole, Retry) and (whole.failing or whole.limited):
        return [whole] * len(entries)
    if isinstance(whole, Dead | Retry):
        return [Retry(whole.reason, reply.answer, after=0, split=True)] * len(entries)
    return [whole] * len(entries)


EMAIL, USER_ID = "email", "userId"


def _dead(reason: str, answer: Answer, _: BulkEntry) -> Outcome:
    return Dead(reason, answer)


def _later(reason: str, answer: Answer, _: BulkEntry) -> Outcome:
    return Retry(reason, answer)


def _ask(reason: str, answer: Answer, entry: BulkEntry) -> Outcome:
    """The list does not tell why it failed; the single endpoint does, fields and types included."""
    return Retry(reason, answer, after=0, instead=entry.single())


class FailureList(NamedTuple):
    """A list of identifiers in the answer and what it means for the entries that it names."""

    place: str
    identifier: str
    verdict: Callable[[str, Answer, BulkEntry], Outcome]
    reason: str


# Precise lists first: the deprecated ones repeat what they say.
_FAILED = (
    FailureList("failedUpdates.forgottenEmails", EMAIL, _dead, "forgotten_user"),
    FailureList("failedUpdates.forgottenUserIds", USER_ID, _dead, "forgotten_user"),
    FailureList("failedUpdates.invalidEmails", EMAIL, _dead, "invalid_email"),
    FailureList("failedUpdates.invalidUserIds", USER_ID, _dead, "invalid_user_id"),
    FailureList("failedUpdates.conflictEmails", EMAIL, _dead, "conflict"),
    FailureList("failedUpdates.conflictUserIds", USER_ID, _dead, "conflict"),
    FailureList("failedUpdates.notFoundEmails", EMAIL, _later, "unknown_user"),
    FailureList("failedUpdates.notFoundUserIds", USER_ID, _later, "unknown_user"),
    FailureList("failedUpdates.invalidDataEmails", EMAIL, _ask, "invalid_data"),
    FailureList("failedUpdates.invalidDataUserIds", USER_ID, _ask, "invalid_data"),
    FailureList("validEmailFailures", EMAIL, _later, "internal_error"),
    FailureList("validUserIdFailures", USER_ID, _later, "internal_error"),
)
FAILURE_LISTS: Mapping[str, tuple[FailureList, ...]] = {
    USERS: (
        *_FAILED,
        # Deprecated: whoever failed, for any reason.
        FailureList("invalidEmails", EMAIL, _ask, "unexplained"),
        FailureList("invalidUserIds", USER_ID, _ask, "unexplained"),
    ),
    EVENTS: (
        *_FAILED,
        # Deprecated: malformed addresses and userIds that were not found.
        FailureList("invalidEmails", EMAIL, _dead, "invalid_email"),
        FailureList("invalidUserIds", USER_ID, _later, "unknown_user"),
    ),
}


class _Reconciliation:
    """Finds the entries behind the identifiers, and checks the sum against `failCount`."""

    def __init__(
        self, entries: Sequence[BulkEntry], reply: Reply, counters: Mapping[str, Any]
    ) -> None:
        self.entries = entries
        self.counters = counters
        self.status = reply.status
        self.failed: dict[int, Outcome] = {}
        # Entries of which some failed, but not which: several answer to one identifier.
        self.doubtful: set[int] = set()
        self.known_doubtful = 0
        self.index = _index(entries)

    def outcomes(self) -> list[Outcome]:
        for failures in FAILURE_LISTS[self.entries[0].endpoint]:
            self._match(failures)
        disallowed = self._disallowed()
        accounted = len(self.failed) + self.known_doubtful
        fail_count = self._fail_count()
        # Whether events of a disallowed name are counted as failed is not documented: both are
        # right.
        if fail_count > accounted and fail_count != accounted + len(
            disallowed - self.failed.keys()
        ):
            self.doubtful |= set(range(len(self.entries))) - disallowed
        filtered = self._filtered()
        return [self._outcome(i, i in disallowed, i in filtered) for i in range(len(self.entries))]

    def _match(self, failures: FailureList) -> None:
        listed = Counter(
            _normal(failures.identifier, identifier)
            for identifier in self._list(failures.place)
            if isinstance(identifier, str)
        )
        for identifier, count in listed.items():
            found = self.index.get((failures.identifier, identifier), set())
            if found & self.failed.keys() or found & self.doubtful:
                continue  # a precise list has told already
            if len(found) > max(count, 1):
                self.doubtful |= found
                self.known_doubtful += count
                continue
            for index in found:
                answer = self._answer(failures, identifier)
                self.failed[index] = failures.verdict(failures.reason, answer, self.entries[index])

    def _outcome(self, index: int, disallowed: bool, filtered: bool) -> Outcome:
        entry, counts = self.entries[index], self._counts()
        if index in self.failed:
            return self.failed[index]
        if disallowed:
            return Dead("event_disallowed", counts)
        if index not in self.doubtful:
            return Delivered(counts, "fields_filtered" if filtered else None, entry.refused)
        if len(self.entries) == 1:
            return _ask("unexplained", counts, entry)
        return Retry("unexplained", counts, after=0, split=True)

    def _fail_count(self) -> int:
        failed, succeeded = self.counters.get("failCount"), self.counters.get("successCount")
        if isinstance(failed, int):
            return failed
        return len(self.entries) - succeeded if isinstance(succeeded, int) else 0

    def _disallowed(self) -> set[int]:
        names = self._list("disallowedEventNames")
        return {i for i, e in enumerate(self.entries) if (e.body or {}).get("eventName") in names}

    def _filtered(self) -> set[int]:
        """The entries that lost fields to a project that takes no new ones; all, if untold."""
        names = [str(name).rpartition(":::")[2] for name in self._list("filteredOutFields")]
        holders = {
            i
            for i, e in enumerate(self.entries)
            if any(_holds((e.body or {}).get("dataFields"), name) for name in names)
        }
        return holders if holders or not names else set(range(len(self.entries)))

    def _list(self, place: str) -> list[Any]:
        """A list of the answer; absent, null and whatever else it may be count as empty."""
        found: Any = self.counters
        for name in place.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, list) else []

    def _answer(self, failures: FailureList, identifier: str) -> Answer:
        """The part of the answer about one entry: the rest is about other people."""
        shown = [] if failures.reason == "forgotten_user" else [identifier]
        group, dot, name = failures.place.rpartition(".")
        part: dict[str, Any] = {group: {name: shown}} if dot else {name: shown}
        return Answer(self.status, orjson.dumps({**self._count_fields(), **part}).decode())

    def _counts(self) -> Answer:
        return Answer(self.status, orjson.dumps(self._count_fields()).decode())

    def _count_fields(self) -> dict[str, Any]:
        return {n: self.counters[n] for n in ("successCount", "failCount") if n in self.counters}


def _index(entries: Sequence[BulkEntry]) -> Mapping[tuple[str, str], set[int]]:
    """Entries by every identifier that an answer may name them with.

    A profile's new address or userId stands in its `dataFields`; among an event's they are mere
    data.
    """
    index: dict[tuple[str, str], set[int]] = defaultdict(set)
    for number, each in enumerate(entries):
        body = each.body or {}
        places: Iterable[Any] = (body,)
        if each.endpoint == USERS:
            places = (body, body.get("dataFields"))
        for place in places:
            for kind in (EMAIL, USER_ID):
                value = place.get(kind) if isinstance(place, dict) else None
                if value is not None:
                    index[kind, _normal(kind, str(value))].add(number)
    return index


def _normal(kind: str, identifier: str) -> str:
    """Iterable keeps addresses in lower case and gives them back so; userIds are exact."""
    return identifier.strip().lower() if kind == EMAIL else identifier


def _holds(fields: Any, path: str) -> bool:
    """Whether there is a field at a dotted path; a name may have dots of its own."""
    if isinstance(fields, list):
        return any(_holds(each, path) for each in fields)
    if not isinstance(fields, dict):
        return False
    head, dot, rest = path.partition(".")
    return path in fields or bool(dot and _holds(fields.get(head), rest))
