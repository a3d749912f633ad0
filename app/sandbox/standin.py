"""What both stand-ins have in common: requests pass the faults, reach the model, enter the journal;
and a few addresses steer and show it all."""

import gzip
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import orjson
from marshmallow import Schema, ValidationError, fields
from marshmallow.validate import Range

from app.sandbox.faults import Faults, Verdict
from app.sandbox.journal import Entry, Journal
from app.sandbox.limits import Limit
from app.sandbox.page import render
from app.sandbox.wire import Answer, Ending, Request

SHOWN = 50

Control = Callable[[Any], None]


class Model(Protocol):
    """A partner: pure state in memory, no I/O."""

    name: str
    inflates: bool
    limits: Mapping[str, Sequence[Limit]]

    def endpoint(self, request: Request) -> str:
        """The endpoint that the request belongs to: its path without anybody's identifiers."""
        ...

    def key(self, request: Request) -> str:
        """Which type of key came with it; never the key."""
        ...

    def answer(self, request: Request, at: float) -> Answer:
        """Do what is asked. Raises nothing."""
        ...

    def failure(self, endpoint: str, status: int) -> Any:
        """What the partner's JSON for this failure looks like."""
        ...

    def controls(self) -> Mapping[str, Control]:
        """What can be ordered by `POST` to these paths; they raise ValidationError."""
        ...

    def shown(self, limit: int) -> dict[str, Any]:
        """What it holds; of anything long the newest `limit`."""
        ...

    def reset(self) -> None:
        """Be as new."""
        ...


class _Keep(Schema):
    keep = fields.Integer(required=True, validate=Range(min=0))


class StandIn:
    """One partner with its journal and its faults; called with a request, gives the answer."""

    def __init__(self, model: Model, clock: Callable[[], float] = time.time) -> None:
        self._model = model
        self._clock = clock
        self._journal = Journal()
        self._faults = Faults(model.limits)
        self._shows = {
            "/": self._show,
            "/journal": self._show_journal,
            "/faults": self._show_faults,
        }
        self._controls: dict[str, Control] = {
            "/faults": self._faults.add,
            "/journal": self._set_journal,
            "/reset": self._reset,
            **model.controls(),
        }

    def __call__(self, request: Request) -> Answer:
        """Answer a request, of the partner's API or of the stand-in's own addresses."""
        if request.path in self._shows or request.path in self._controls:
            return self._control(request)
        return self._serve(request)

    def _serve(self, request: Request) -> Answer:
        at, model = self._clock(), self._model
        if model.inflates and request.headers.get("content-encoding") == "gzip":
            _inflate(request)
        endpoint = model.endpoint(request)
        verdict = self._faults.judge(endpoint, request.path, request.body, at)
        if verdict.fault is None:
            answer = model.answer(request, at)
        else:
            if verdict.processed:
                model.answer(request, at)
            answer = self._failure(endpoint, verdict)
        answer.delay = verdict.delay
        status = answer.status if answer.ending is Ending.ANSWER else None
        key = model.key(request)
        entry = Entry(at, request.method, request.path, request.body, key, status, verdict.fault)
        self._journal.add(endpoint, entry)
        return answer

    def _failure(self, endpoint: str, verdict: Verdict) -> Answer:
        if verdict.status is None:
            return Answer(0, ending=verdict.ending)
        body = verdict.body
        if body is None:
            body = self._model.failure(endpoint, verdict.status)
        headers = {}
        if verdict.retry_after is not None:
            headers["Retry-After"] = f"{verdict.retry_after:g}"
        return Answer(verdict.status, orjson.dumps(body), headers=headers)

    def _control(self, request: Request) -> Answer:
        try:
            if request.method == "GET" and request.path in self._shows:
                return self._shows[request.path](request)
            if request.method == "POST" and request.path in self._controls:
                self._controls[request.path](orjson.loads(request.body or b"{}"))
                return _json({"success": True})
            if request.method == "DELETE" and request.path == "/faults":
                self._faults.clear()
                return _json({"success": True})
        except ValidationError as problem:
            return _json({"success": False, "errors": problem.messages}, 400)
        except ValueError:
            return _json({"success": False, "errors": ["not understood: JSON and numbers"]}, 400)
        return _json({"success": False, "errors": [f"{request.method} is not for here"]}, 405)

    def _show(self, request: Request) -> Answer:
        limit = int(request.query.get("limit", SHOWN))
        since = request.query.get("since")
        journal = self._journal
        state = {
            "requests": journal.after(int(since), limit) if since else journal.newest(limit),
            "counts": dict(journal.counts),
            **self._model.shown(limit),
            "faults": self._faults.shown(),
            **journal.rates(),
        }
        if "text/html" in request.headers.get("accept", ""):
            return Answer(200, render(self._model.name, state), "text/html; charset=utf-8")
        # For whoever looks with curl.
        return Answer(200, orjson.dumps(state, option=orjson.OPT_INDENT_2))

    def _show_journal(self, request: Request) -> Answer:
        after = int(request.query.get("after", 0))
        limit = int(request.query.get("limit", 1000))
        return _json({"requests": self._journal.after(after, limit)})

    def _show_faults(self, _: Request) -> Answer:
        return _json({"faults": self._faults.shown()})

    def _set_journal(self, given: Any) -> None:
        self._journal.keep = _Keep().load(given)["keep"]

    def _reset(self, _: Any) -> None:
        self._journal = Journal()
        self._faults.clear()
        self._model.reset()


def _inflate(request: Request) -> None:
    """What cannot be inflated stays as it is: the partner then finds that it is not JSON."""
    try:
        request.body = gzip.decompress(request.body)
    except (OSError, EOFError, zlib.error):
        return


def _json(value: Any, status: int = 200) -> Answer:
    # Errors of a list are keyed by place.
    return Answer(status, orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))
