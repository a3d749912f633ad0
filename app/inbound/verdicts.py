"""What Segment answered, as outcomes.

| answer | outcome |
| --- | --- |
| 2xx | Delivered (`on_error` is not called) |
| 401, 403, 404, a redirect | Hold: the write key or SEGMENT_HOST is at fault |
| 429 | Retry after Retry-After; the rate limit was met |
| 5xx, 408, 410, 460 (which the library counts as passing too) | Retry, after Retry-After if given |
| any other 4xx, for several messages | Retry in half that company |
| any other 4xx, for one | Dead `refused` |
| none (timeout, connection) | Retry |
"""

from collections.abc import Mapping, Sequence
from typing import Any

from requests import Response, TooManyRedirects
from segment.analytics.request import APIError, parse_retry_after

from app.inbound.session import last_answer
from app.outcomes import Answer, Dead, Hold, Outcome, Retry

_PASSING = (408, 410, 460)
_MISCONFIGURED = (401, 403, 404)
_BODY = 2_000  # characters of an answer that are kept for people


class Verdicts:
    """Collects what `on_error` gets, by messageId: the library cuts batches as it likes."""

    def __init__(self) -> None:
        self._failed: dict[str, Outcome] = {}

    def of(self, message_id: str) -> Outcome | None:
        """What went wrong with a message; None if nothing did."""
        return self._failed.get(message_id)

    def on_error(self, error: Exception, batch: Sequence[Mapping[str, Any]]) -> None:
        """Called by the library's thread, which would die of an exception."""
        outcome = _outcome(error, alone=len(batch) == 1)
        self._failed.update((message["messageId"], outcome) for message in batch)


def _outcome(error: Exception, alone: bool) -> Outcome:
    response = _response(error)
    if response is None:
        return Retry("no_answer", Answer(None, type(error).__name__), failing=True)
    status = response.status_code
    answer = Answer(status, response.text[:_BODY])
    if 300 <= status < 400 or status in _MISCONFIGURED:
        return Hold("segment_redirect" if status < 400 else f"segment_{status}", answer)
    if status == 429:
        return Retry("rate_limited", answer, parse_retry_after(response), limited=True)
    if status >= 500 or status in _PASSING:
        return Retry(f"segment_{status}", answer, parse_retry_after(response), failing=True)
    return Dead("refused", answer) if alone else Retry("refused", answer, split=True)


def _response(error: Exception) -> Response | None:
    """The answer that an error is about.

    With its rate-limit budget used up (0 seconds here) the library reports a bare Exception, after
    an answer with Retry-After; every other kind of error is a connection's.
    """
    if isinstance(error, APIError | TooManyRedirects):
        return error.response
    return last_answer() if type(error) is Exception else None
