"""What Iterable's answers mean: one table from HTTP status, code and message to the five outcomes.

Rows are tried from top to bottom: status first, then `code`, then `msg`, because the three
contradict each other (a 401 may say `Success`, a 200 may say that the event was thrown away). Codes
and remedies: Iterable, API Response Codes article, and the enum in its API specification, which is
not complete.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from app.outbound.request import MOBILE, SERVER, WEB, IterableRequest
from app.outcomes import Answer, Dead, Delivered, Hold, Outcome, Retry

KEY_SETTINGS = {
    SERVER: "ITERABLE_API_KEY",
    MOBILE: "ITERABLE_MOBILE_API_KEY",
    WEB: "ITERABLE_WEB_API_KEY",
}

# An answer is kept for people; a gateway's error page needs no more room than this.
LONGEST_ANSWER = 4_000


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, read: `json` is None unless the body is JSON; `after` is in seconds.

    `page` tells that the body is a web page, which no endpoint of Iterable's answers with.
    """

    status: int
    answer: Answer
    json: Any = None
    code: str = ""
    message: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    after: float | None = None

    @property
    def page(self) -> bool:
        return self.answer.body.lstrip().startswith("<")


def read(status: int, headers: Mapping[str, str], content: bytes, now: float) -> Reply:
    """Read an answer in any shape: JSON of three kinds, plain text, HTML, nothing at all."""
    answer = Answer(status, content[:LONGEST_ANSWER].decode("utf-8", "replace"))
    try:
        json = orjson.loads(content)
    except orjson.JSONDecodeError:
        return Reply(status, answer, message=answer.body, after=_wait(headers, {}, now))
    known = json if isinstance(json, dict) else {}
    params = known.get("params")
    params = params if isinstance(params, dict) else {}
    code = str(known.get("code") or "")
    # The catalogue style of error has its text in `message` instead of `msg`.
    message = str(known.get("msg") or known.get("message") or "")
    if code == FORGOTTEN or "forgotten" in message.lower():
        # The right to be forgotten reaches as far as our own notes: the text may quote the address.
        answer = Answer(status, orjson.dumps({"code": code}).decode())
    return Reply(status, answer, json, code, message, params, _wait(headers, params, now))


def _wait(headers: Mapping[str, str], params: Mapping[str, Any], now: float) -> float | None:
    """Seconds to wait as the partner asks: `Retry-After` (number or date), or `rateLimitReset`."""
    wanted: Any = headers.get("Retry-After") or params.get("rateLimitReset")
    if wanted is None:
        return None
    try:
        seconds = float(wanted)
    except (TypeError, ValueError):
        try:
            seconds = parsedate_to_datetime(str(wanted)).timestamp() - now
        except ValueError:
            return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _delivered(_: str, reply: Reply) -> Outcome:
    return Delivered(reply.answer)


def _dead(reason: str, reply: Reply) -> Outcome:
    return Dead(reason, reply.answer)


def _hold(reason: str, reply: Reply) -> Outcome:
    return Hold(f"{reason} (HTTP {reply.status} {reply.code}".rstrip() + ")", reply.answer)


def _later(reason: str, reply: Reply) -> Outcome:
    return Retry(reason, reply.answer, after=reply.after)


def _failing(reason: str, reply: Reply) -> Outcome:
    return Retry(reason, reply.answer, after=reply.after, failing=True)


def _limited(reason: str, reply: Reply) -> Outcome:
    return Retry(reason, reply.answer, after=reply.after, limited=True)


class Row(NamedTuple):
    """Statuses from–to, any of the codes (none: any code), a part of the message in lower case."""

    first: int
    last: int
    codes: frozenset[str]
    message: str
    verdict: Callable[[str, Reply], Outcome]
    reason: str


def _row(
    statuses: str, codes: str, message: str, verdict: Callable[[str, Reply], Outcome], reason: str
) -> Row:
    first, _, last = statuses.partition("-")
    return Row(int(first), int(last or first), frozenset(codes.split()), message, verdict, reason)


FORGOTTEN = "ForgottenUserError"
TYPES = "RequestFieldsTypesMismatched"
KEY_CODES = "BadApiKey BadAuthorizationHeader Unauthorized"
JWT_CODES = "InvalidJwtPayload JwtUserIdentifiersMismatched"
KEY_REFUSED = "{key} is refused: it is missing, wrong, disabled or of the wrong type for {endpoint}"
NOT_ALLOWED = "{key} has no right to use {endpoint}: widen its rights or use a key of another type"
NEEDS_JWT = "{key} asks for a JWT of each user: use a key without JWT"
NO_SUCH_PLACE = "{endpoint} is unknown there: check ITERABLE_BASE_URL, or have the feature enabled"
NOT_ITERABLE = "the address does not answer as Iterable does: check ITERABLE_BASE_URL"

# An empty reason: the code in snake case, or `http_400` where there is none.
TABLE = (
    # status   code                             msg contains                    outcome     reason
    # It says 200 and has thrown the event away; kept, it can be replayed once the name is allowed.
    _row("200-299", "", "is disallowed from tracking", _dead, "event_disallowed"),
    _row("200-299", "", "", _delivered, ""),
    _row("100-399", "", "", _hold, NOT_ITERABLE),  # redirects are not followed: the body would go
    _row("401", JWT_CODES, "", _hold, NEEDS_JWT),
    _row("401", "", "", _hold, KEY_REFUSED),
    _row("403", "", "", _hold, NOT_ALLOWED),
    _row("404", "error.users.noUserWithIdExists", "", _later, "unknown_user"),
    _row("404", "", "user does not exist", _later, "unknown_user"),
    _row("404-405", "", "", _hold, NO_SUCH_PLACE),
    _row("402", "", "", _hold, NOT_ALLOWED),
    _row("407", "", "", _hold, NOT_ITERABLE),  # a proxy on the way wants credentials
    _row("408", "", "", _failing, "timeout"),
    _row("413", "", "", _dead, "too_large"),
    _row("429", "", "", _limited, "rate_limited"),
    _row("400-499", FORGOTTEN, "", _dead, "forgotten_user"),
    _row("400-499", "EmailAlreadyExists", "forgotten list", _dead, "forgotten_user"),
    _row("400-499", "EmailAlreadyExists", "", _dead, "email_taken"),
    _row("400-499", "UserIdAlreadyExists", "", _dead, "user_id_taken"),
    _row("400-499", "ExternalKeyConflict Conflict", "", _dead, "conflict"),
    _row("409", "", "", _dead, "conflict"),
    _row("400-499", "InvalidEmailAddressError", "", _dead, "invalid_email"),
    _row("400-499", "InvalidUserIdError", "", _dead, "invalid_user_id"),
    _row("400-499", "UnknownEmailError UnknownUserIdError", "", _later, "unknown_user"),
    _row("400-499", "error.users.noUserWithIdExists", "", _later, "unknown_user"),
    _row("400-499", "BadParams", "does not exist", _later, "unknown_user"),
    _row("400-599", TYPES, "", _dead, "field_types"),
    _row("400-499", "UniqueFieldsLimitExceeded", "", _dead, "field_limit"),
    _row("400-499", "BatchTooLarge", "", _dead, "too_large"),
    _row("400-499", KEY_CODES, "", _hold, KEY_REFUSED),
    _row("400-499", JWT_CODES, "", _hold, NEEDS_JWT),
    _row("400-499", "Forbidden ForbiddenParamsError", "", _hold, NOT_ALLOWED),
    _row("400-499", "", "error.lists.invalidlistid", _dead, "invalid_list_id"),
    _row("423-425", "", "", _failing, "http_{status}"),
    _row("400-499", "", "", _dead, ""),  # BadJsonBody, BadParams, QueueEmailError, what comes next
    _row("500-999", "", "", _failing, "http_{status}"),
)


def judge(reply: Reply, request: IterableRequest) -> Outcome:
    """The outcome of a request that carried one record."""
    if reply.page and 200 <= reply.status < 300:
        return _hold(NOT_ITERABLE, reply)
    if request.original is not None:
        return _after_asking(reply, request, request.original)
    outcome = _by_table(reply, request)
    if isinstance(outcome, Delivered) and request.refused:
        return Delivered(outcome.answer, outcome.notice, request.refused)
    if isinstance(outcome, Dead | Retry) and outcome.reason in _reached(request):
        return Delivered(reply.answer)
    if isinstance(outcome, Retry) and outcome.reason == "unknown_user":
        return _email_changed_already(request, outcome)
    return outcome


def _by_table(reply: Reply, request: IterableRequest) -> Outcome:
    message = reply.message.lower()
    row = next(
        row
        for row in TABLE
        if row.first <= reply.status <= row.last
        and (not row.codes or reply.code in row.codes)
        and row.message in message
    )
    reason = row.reason or _snake_case(reply.code) or "http_{status}"
    return row.verdict(
        reason.format(
            status=reply.status, key=KEY_SETTINGS[request.key], endpoint=request.endpoint
        ),
        reply,
    )


def _snake_case(code: str) -> str:
    """`BadParams` → `bad_params`; nothing for `Success`, which errors carry too, or odd codes."""
    if code == "Success" or not re.fullmatch(r"[A-Za-z]{1,60}", code):
        return ""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", code).lower()


def _reached(request: IterableRequest) -> frozenset[str]:
    """The refusals that mean: what the request wants is so already."""
    if request.method == "DELETE":
        return frozenset({"unknown_user", "forgotten_user"})
    return frozenset({"forgotten_user"} if request.endpoint == "users/forget" else ())


def _email_changed_already(request: IterableRequest, unknown: Retry) -> Outcome:
    """Sent again after it worked, updateEmail finds the old address gone: ask for the new one."""
    email = (request.body or {}).get("newEmail")
    if request.endpoint != "users/updateEmail" or not email:
        return unknown
    question = IterableRequest(
        endpoint="users/getByEmail",
        method="GET",
        path=f"/api/users/getByEmail?email={quote(str(email), safe='')}",
        body=None,
        original=request,
    )
    return Retry("unknown_user", unknown.answer, after=0, instead=question)


def _after_asking(reply: Reply, request: IterableRequest, original: IterableRequest) -> Outcome:
    """Known under the new address: done. Unknown: an empty object, or an error that says so."""
    if isinstance(reply.json, dict) and reply.json.get("user"):
        return Delivered(reply.answer)
    outcome = _by_table(reply, request)
    if isinstance(outcome, Retry) and (outcome.failing or outcome.limited):
        return outcome
    if isinstance(outcome, Hold) and reply.status != 404:
        return outcome
    return Retry("unknown_user", reply.answer, instead=original)
