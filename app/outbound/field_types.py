"""Fields that Iterable refuses: made to fit where there is one way, else taken out.

The first value ever sent pins a field's type, per project for profiles and per event name for
events (Iterable, Field Data Types article). A refusal names the field and the type it must have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from app.outbound.answers import TYPES, Reply
from app.outbound.coercion import coerce
from app.outbound.request import IterableRequest

# A request is repaired so often at most: each time Iterable may name other fields than before.
MOST_REPAIRS = 4

# Twice what a project holds at most: 1,000 profile fields and 8,000 event fields.
CAPACITY = 18_000

# The expected type of a field that may not exist at all.
NONE = "none"


@dataclass(frozen=True, slots=True)
class Complaint:
    """What Iterable says of one field; `expected` is None where it names no type."""

    expected: str | None
    offending: Any = None


def complaints(reply: Reply) -> dict[str, Complaint]:
    """Read a refusal's fields, by their path within `dataFields`; none where it names none."""
    found: dict[str, Complaint] = {}
    if reply.code == "UniqueFieldsLimitExceeded":
        new = reply.params.get("newFields")
        return {_path(str(name)): Complaint(NONE) for name in new or () if isinstance(new, list)}
    errors = reply.params.get("validationErrors")
    if reply.code == TYPES and isinstance(errors, dict):
        for name, error in errors.items():
            error = error if isinstance(error, dict) else {}
            expected = error.get("expectedType")
            known = expected.lower() if isinstance(expected, str) else None
            found[_path(name)] = Complaint(known, error.get("offendingValue"))
    return found


def _path(name: str) -> str:
    """Iterable's spelling of a field without what it may put before it (`project:::field`)."""
    name = name.rpartition(":::")[2].removeprefix("dataFields.")
    head, dot, rest = name.partition(".")
    if dot and head in ("items", "shoppingCartItems"):
        return "items." + rest.removeprefix("dataFields.")
    return name


class FieldTypes:
    """The types learned from refusals; one per process, used from many threads."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = Lock()
        self._learned: dict[str, dict[str, str]] = {}

    def fit(self, request: IterableRequest) -> IterableRequest:
        """Make a request right before it is sent; the same object when it is right as it is."""
        types = self._learned and self._learned.get(_scope(request))
        return repaired(request, types) if types else request

    def learn(self, scope: str, types: Mapping[str, str]) -> None:
        """Remember the types of fields; at the capacity the scope learned first is forgotten."""
        with self._lock:
            # Replaced, never changed: `fit` reads without the lock.
            learned = dict(self._learned)
            learned[scope] = {**learned.get(scope, {}), **types}
            while len(learned) > 1 and sum(map(len, learned.values())) > self._capacity:
                del learned[next(iter(learned))]
            self._learned = learned

    def repair(
        self, requests: Sequence[IterableRequest], named: Mapping[str, Complaint]
    ) -> dict[int, IterableRequest]:
        """Find the requests to blame and repair them; by index, none when it cannot be told.

        All `requests` were refused together. The types are remembered for the next ones.
        """
        types = {path: c.expected for path, c in named.items() if c.expected is not None}
        changed = _changed(requests, types)
        if len({_scope(requests[index]) for index in changed}) > 1:
            # A type is pinned for one event name: the value tells which one is meant, or nothing
            # does.
            changed = {i: r for i, r in changed.items() if _offends(requests[i], r, named)}
        scopes = {_scope(requests[index]) for index in changed}
        if len(scopes) == 1:
            self.learn(scopes.pop(), {path: t for path, t in types.items() if t != NONE})
        elif len(requests) == 1:
            # It looks right and is refused all the same: the named fields have to go.
            changed = _changed(requests, dict.fromkeys(named, NONE))
        else:
            return {}
        return {i: replace(r, repairs=r.repairs + 1) for i, r in changed.items()}


def _scope(request: IterableRequest) -> str:
    """Within what a field has one type: an event name, all profiles, all purchases and carts."""
    name = (request.body or {}).get("eventName")
    return request.endpoint.partition("/")[0] if name is None else f"event {name}"


def _changed(
    requests: Sequence[IterableRequest], types: Mapping[str, str]
) -> dict[int, IterableRequest]:
    fixed = ((i, repaired(request, types)) for i, request in enumerate(requests))
    return {i: request for i, request in fixed if request is not requests[i]}


def _offends(
    before: IterableRequest, after: IterableRequest, named: Mapping[str, Complaint]
) -> bool:
    """Whether the request holds one of the values that Iterable quotes."""
    values = [c.offending for c in named.values() if c.offending is not None]
    repair = _Repair(dict.fromkeys(named, NONE))
    repair.body(before.body or {})
    return any(
        value == held or (isinstance(held, list) and value in held)
        for value in values
        for held in repair.refused.values()
    )


def repaired(request: IterableRequest, types: Mapping[str, str]) -> IterableRequest:
    """The request with every field of its type, and `refused` what could not be made so.

    `types`: path within `dataFields` (`plan.price`, `items.colour`) → type. The same object is
    returned when nothing had to be changed.
    """
    repair = _Repair(types)
    body = repair.body(request.body or {})
    if not repair.changed:
        return request
    return replace(request, body=body, refused={**request.refused, **repair.refused})


class _Repair:
    """One walk through a body: copies it, leaving the original as it is."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self.types = types
        self.refused: dict[str, Any] = {}
        self.changed = False

    def body(self, body: Mapping[str, Any], label: str = "", path: str = "") -> dict[str, Any]:
        """Go through all `dataFields`: the body's, its user's, its items'."""
        copy = dict(body)
        if isinstance(fields := body.get("dataFields"), dict):
            copy["dataFields"] = self._fields(fields, label, path)
        if isinstance(user := body.get("user"), dict):
            copy["user"] = self.body(user)
        if isinstance(items := body.get("items"), list):
            copy["items"] = [
                self.body(item, f"items[{i}].", "items.") for i, item in enumerate(items)
            ]
        return copy

    def _fields(self, fields: Mapping[str, Any], label: str, path: str) -> dict[str, Any]:
        copy: dict[str, Any] = {}
        for name, value in fields.items():
            expected = self.types.get(path + name)
            if expected is None:
                copy[name] = self._inside(value, label + name, f"{path}{name}.")
                continue
            try:
                copy[name] = coerce(value, expected)
            except ValueError:
                self.refused[label + name] = value
                self.changed = True
            else:
                self.changed |= copy[name] is not value
        return copy

    def _inside(self, value: Any, label: str, path: str) -> Any:
        if isinstance(value, dict):
            return self._fields(value, f"{label}.", path)
        if isinstance(value, list):
            return [self._inside(each, f"{label}[{i}]", path) for i, each in enumerate(value)]
        return value
