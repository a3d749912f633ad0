"""The five outcomes that everything a partner answers is turned into, and the pure retry policy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Step(Protocol):
    """One thing to send to a partner for a record; a record may need several, one after another."""

    @property
    def endpoint(self) -> str:
        """The endpoint family it goes to, which owns a rate limit: `users/update`,
        `events/trackBulk` …"""
        ...

    @property
    def size(self) -> int:
        """Bytes it takes in a request body, for endpoints that take many steps in one request."""
        ...

    def describe(self) -> dict[str, Any]:
        """The request as it is sent, for people: dead letters and `bridge preview` show it."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the partner said: its HTTP status (None when there was no answer) and its body as
    text."""

    status: int | None
    body: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """The partner has taken it.

    `notice` is a reason code for a loss that the partner did not count as a failure (a disallowed
    event name, fields it filtered out). `refused` are fields left out because the partner refuses
    their type; they are kept as a dead letter of their own.
    """

    answer: Answer | None = None
    notice: str | None = None
    refused: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Discarded:
    """Deliberately not sent; `reason` is a code such as `page_tracking_off`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now. The same step, or `instead`, is sent again later.

    `after`: seconds to wait at least, as the partner asked; 0 for at once; None for the usual
    backoff.
    `failing`: the partner itself seems unwell (5xx, timeout, connection), which opens the breaker.
    `limited`: the partner's rate limit was met (429): the endpoint pauses, the record is not to
    blame.
    `split`: the step was refused together with others of its request; send it in half that company.
    """

    reason: str
    answer: Answer | None = None
    after: float | None = None
    failing: bool = False
    limited: bool = False
    split: bool = False
    instead: Step | None = None


@dataclass(frozen=True, slots=True)
class Dead:
    """It can never succeed as it is; `reason` is a code such as `invalid_email`."""

    reason: str
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """The key or the project's configuration is at fault (401, 403, 404), not the record: all of
    it waits."""

    reason: str
    answer: Answer | None = None


Outcome = Delivered | Discarded | Retry | Dead | Hold


def backoff(attempt: int, base: float, cap: float, chance: float) -> float:
    """Seconds to wait before the next try: exponential with full jitter.

    `attempt` is the number of tries so far (1 after the first), `chance` is drawn from [0, 1).
    """
    return chance * min(cap, base * float(2 ** min(attempt - 1, 30)))
