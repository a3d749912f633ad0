"""What the courier needs to know of a partner; `outbound/iterable.py` and `inbound/segment.py` are
two such."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.log.base import Record
from app.outcomes import Dead, Discarded, Outcome, Step


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `count` requests in any `seconds` seconds, over the bridge as a whole."""

    count: float
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How an endpoint of the partner wants to be called.

    One request carries up to `batch_size` steps of together at most `batch_bytes` bytes (0: no
    limit), each of another person, and waits up to `linger` seconds to fill up.
    """

    limits: tuple[RateLimit, ...] = ()
    batch_size: int = 1
    batch_bytes: int = 0
    linger: float = 0.0


class Destination(Protocol):
    """One consumer group's way out of the log: a topic is read, mapped and sent with one key."""

    @property
    def direction(self) -> str:
        """`outbound` or `inbound`."""
        ...

    @property
    def topic(self) -> str:
        """The topic whose records it delivers."""
        ...

    @property
    def group(self) -> str:
        """The consumer group, one per key, so that a refused key holds up its own requests only."""
        ...

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """Every endpoint that `prepare` may name in a step."""
        ...

    def prepare(self, record: Record) -> Sequence[Step] | Discarded | Dead:
        """Map a record to the steps that deliver it, in order; none when this group has nothing to
        do.

        Pure and quick: no I/O. Never raises: what cannot be mapped is Dead with its reason.
        """
        ...

    def deliver(self, endpoint: str, steps: Sequence[Step]) -> list[Outcome]:
        """Send `steps` in one request (or one flush) and return one outcome for each, in their
        order.

        Called from several threads at once. Never raises for anything the partner or the network
        does.
        """
        ...

    def close(self) -> None:
        """Let go of connections and threads. Nothing is being delivered any more."""
        ...
