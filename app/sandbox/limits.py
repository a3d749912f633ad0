"""Rate limits of a stand-in, exact over every sliding window."""

from collections import deque
from collections.abc import Mapping, Sequence

# At most `count` requests in any `seconds` seconds.
Limit = tuple[float, float]


class Window:
    """One endpoint's limits and what it let through lately."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = limits
        self._passed: list[deque[float]] = [deque() for _ in limits]

    def wait(self, at: float) -> float:
        """0 when the request of time `at` may pass, and is counted; else seconds until one may."""
        waits = [0.0]
        for (count, seconds), passed in zip(self._limits, self._passed, strict=True):
            while passed and passed[0] <= at - seconds:
                passed.popleft()
            if len(passed) + 1 > count:
                waits.append(passed[0] + seconds - at if passed else seconds)
        if max(waits) == 0:
            for passed in self._passed:
                passed.append(at)
        return max(waits)


class Limiter:
    """A window for each endpoint; endpoints without a limit pass."""

    def __init__(
        self, limits: Mapping[str, Sequence[Limit]], default: Sequence[Limit] = ()
    ) -> None:
        self._limits = limits
        self._default = default
        self._windows: dict[str, Window] = {}

    def wait(self, endpoint: str, at: float) -> float:
        """Seconds until the endpoint takes a request again; 0 when it has just taken this one."""
        window = self._windows.get(endpoint)
        if window is None:
            window = Window(self._limits.get(endpoint, self._default))
            self._windows[endpoint] = window
        return window.wait(at)
