"""Whether a partner can be called: a breaker per endpoint that is unwell, a hold per refused
key."""

from collections.abc import Callable
from typing import Final

from app.outcomes import backoff

# So many failures in a row, with no success between them, mean the partner and not the record.
TRIP_AFTER: Final = 5
PROBE_BASE: Final = 0.5
PROBE_CAP: Final = 30.0
# A rotated key works again within this many seconds of being set right.
HOLD_PROBE: Final = 30.0


class Gate:
    """Open to traffic, or shut but for one probing request at a time.

    Times are a monotonic clock's seconds. `reason` is empty while the gate is open. `sent` is when
    the request went out whose answer is judged: one that was under way already when the gate was
    shut is no probe, and tells nothing that was not known then.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._shut_at = 0.0
        self._probe_at = 0.0
        self._probing = False

    def wait(self, now: float) -> float:
        """Seconds until the next request may go; infinity while a probe is under way."""
        if not self.reason:
            return 0.0
        return float("inf") if self._probing else max(0.0, self._probe_at - now)

    def sent(self) -> None:
        """A request goes out; through a shut gate it is the probe."""
        self._probing = bool(self.reason)

    def undecided(self, sent: float) -> None:
        """The request told nothing about this gate; when it was the probe, the next one is."""
        if self.tells(sent):
            self._probing = False

    def open(self) -> None:
        """All is well again."""
        self.reason = ""
        self._probing = False

    def shut(self, reason: str, now: float, wait: float) -> None:
        """Let nothing through but a probe, after `wait` seconds."""
        self.reason = reason
        self._probing = False
        self._shut_at = now
        self._probe_at = now + wait

    def tells(self, sent: float) -> bool:
        """Whether the answer to a request of that time says how things are now."""
        return not self.reason or sent >= self._shut_at


class Hold(Gate):
    """Shut while the partner refuses the key (401, 403, 404) at `endpoint`."""

    def __init__(self) -> None:
        super().__init__()
        self.endpoint = ""

    def refused(self, sent: float, now: float, endpoint: str, reason: str) -> None:
        """The partner refused the key."""
        if self.tells(sent):
            self.endpoint = endpoint
            self.shut(f"{endpoint}: {reason}", now, HOLD_PROBE)

    def accepted(self, sent: float) -> None:
        """The partner took the key."""
        if self.tells(sent):
            self.open()


class Breaker(Gate):
    """Shut while an endpoint keeps failing. `chance` draws from [0, 1).

    `successes` is the evidence by which a failure speaks against the record and not the partner.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        super().__init__()
        self.successes = 0
        self._chance = chance
        self._failures = 0
        self._probes = 0

    def succeeded(self) -> None:
        """The partner answered as a well partner does, whatever it thought of the record.

        An answer that was under way counts too: a partner that takes some requests is not down.
        """
        self.successes += 1
        self._failures = self._probes = 0
        self.open()

    def failed(self, sent: float, now: float, reason: str) -> None:
        """The partner failed: 5xx, a timeout, a cut connection."""
        self._failures += 1
        # All that is under way fails at once when a partner goes down; that is one failed probe.
        if not self.tells(sent) or (not self.reason and self._failures < TRIP_AFTER):
            return
        self._probes += 1
        wait = backoff(self._probes, PROBE_BASE, PROBE_CAP, self._chance())
        self.shut(reason, now, wait)
