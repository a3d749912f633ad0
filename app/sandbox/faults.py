"""Orders to fail: which requests, how many of them, and in what way.

Orders are asked in the order they were given. Latencies add up; the first order that fails a
request, or lets it pass with a 2xx status, settles the matter.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema
from marshmallow.validate import Length, OneOf, Range, Regexp

from app.sandbox.limits import Limit, Limiter
from app.sandbox.wire import Ending

PUBLISHED = "published"
EFFECTS = ("status", "cut", "hang", "rate", "limits", "sequence")


class LimitsField(fields.Field[Any]):
    """`"published"`, or requests per second by endpoint."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **_: Any) -> Any:
        if value == PUBLISHED:
            return value
        endpoint = fields.String(validate=Regexp("/", error="An endpoint begins with /."))
        return fields.Dict(endpoint, fields.Float(validate=Range(min=0))).deserialize(value)


class OrderSchema(Schema):
    """One order, as `POST /faults` takes it.

    Which requests: `match`, a text or regular expression in the path or the body (`users/update$`,
    an address); `share` of them, 0 to 1, chosen by chance from `seed`; the next `times` of them.

    What happens, one of: `status`, with `body` as JSON instead of the partner's own failure (2xx
    without a body: nothing); `cut`, the connection ends without an answer; `hang`, none ever comes;
    `rate`, 429 above so many requests per second and endpoint; `limits`, the same by endpoint or
    as `"published"`; `sequence`, orders one after another, each when the one before is used up.
    `latency` in milliseconds comes with any of them, or alone. `retry_after`, in seconds, becomes
    the header. `processed`: the partner does what is asked, and then its answer fails.
    """

    match = fields.String()
    share = fields.Float(validate=Range(min=0, max=1))
    times = fields.Integer(validate=Range(min=1))
    seed = fields.Integer()
    latency = fields.Float(validate=Range(min=0))
    status = fields.Integer(validate=Range(min=200, max=599))
    body = fields.Raw()
    retry_after = fields.Float(validate=Range(min=0))
    cut = fields.Boolean(validate=OneOf([True]))
    hang = fields.Boolean(validate=OneOf([True]))
    processed = fields.Boolean()
    rate = fields.Float(validate=Range(min=0))
    limits = LimitsField()
    sequence = fields.List(fields.Nested(lambda: OrderSchema()), validate=Length(min=1))

    @validates_schema
    def check(self, order: dict[str, Any], **_: Any) -> None:
        """An order has one effect; latency may come with any of them, or alone."""
        effects = [name for name in EFFECTS if name in order]
        if len(effects) > 1:
            raise ValidationError(f"one of {' and '.join(effects)} is enough; post two orders")
        if not effects and "latency" not in order:
            raise ValidationError(f"say what is to happen: latency, {', '.join(EFFECTS)}")
        if "body" in order and "status" not in order:
            raise ValidationError("a body needs a status", "body")
        if "sequence" in order and "times" in order:
            raise ValidationError("times belongs to the steps of the sequence", "times")
        try:
            re.compile(order.get("match", ""))
        except re.error as problem:
            raise ValidationError(f"not a regular expression: {problem}", "match") from problem


@dataclass(slots=True)
class Verdict:
    """What is to happen to one request.

    `status` is that of the failure, None where there is none. `processed`: the partner has done
    what was asked, only its answer fails; the sender cannot know.
    """

    delay: float = 0.0
    status: int | None = None
    body: Any = None
    retry_after: float | None = None
    ending: Ending = Ending.ANSWER
    processed: bool = False
    fault: str | None = None
    settled: bool = False


class Order:
    """An order in force and how often it may still strike."""

    def __init__(self, order: Mapping[str, Any], published: Mapping[str, Sequence[Limit]]) -> None:
        self._order = order
        self._left: int | None = order.get("times")
        self._hits = 0
        self._share: float = order.get("share", 1.0)
        # Repeatable on purpose: the same run fails at the same places.
        self._random = random.Random(order.get("seed", 0))  # noqa: S311
        self._text: str = order.get("match", "")
        self._pattern = re.compile(self._text.encode())
        self._limiter = _limiter(order, published)
        self._steps = [Order(step, published) for step in order.get("sequence", ())]

    def judge(self, endpoint: str, path: str, body: bytes, at: float, verdict: Verdict) -> None:
        """Put into `verdict` what this order does to the request, if anything."""
        if self.spent or not self._concerns(path, body) or not self._chosen():
            return
        if self._steps:
            step = next(step for step in self._steps if not step.spent)
            step.judge(endpoint, path, body, at, verdict)
        elif self._limiter is None or self._limiter.wait(endpoint, at) > 0:
            self._strike(verdict)

    @property
    def spent(self) -> bool:
        """Whether it will never strike again."""
        return self._left == 0 or (bool(self._steps) and all(step.spent for step in self._steps))

    def shown(self) -> dict[str, Any]:
        """The order and what became of it so far."""
        if self._steps:
            return {**self._order, "sequence": [step.shown() for step in self._steps]}
        left = {} if self._left is None else {"left": self._left}
        return {**self._order, **left, "hits": self._hits}

    def _concerns(self, path: str, body: bytes) -> bool:
        if not self._text:
            return True
        plain = self._text.encode()
        target = path.encode()
        if plain in target or plain in body:
            return True
        return bool(self._pattern.search(target) or self._pattern.search(body))

    def _chosen(self) -> bool:
        return self._share >= 1 or self._random.random() < self._share

    def _strike(self, verdict: Verdict) -> None:
        self._hits += 1
        if self._left is not None:
            self._left -= 1
        order = self._order
        verdict.delay += order.get("latency", 0.0) / 1000
        verdict.settled = any(effect in order for effect in EFFECTS)
        status = 429 if self._limiter is not None else order.get("status")
        if "cut" in order or "hang" in order:
            verdict.ending = Ending.CUT if "cut" in order else Ending.HANG
            verdict.fault = verdict.ending.value
        elif status is not None and (status >= 300 or "body" in order):
            verdict.status, verdict.fault = status, "rate limit" if self._limiter else "status"
            verdict.body = order.get("body")
            verdict.retry_after = order.get("retry_after")
        verdict.processed = order.get("processed", False)


def _limiter(order: Mapping[str, Any], published: Mapping[str, Sequence[Limit]]) -> Limiter | None:
    if "rate" in order:
        return Limiter({}, [(order["rate"], 1.0)])
    limits = order.get("limits")
    if limits == PUBLISHED:
        return Limiter(published)
    if limits is not None:
        return Limiter({endpoint: [(rate, 1.0)] for endpoint, rate in limits.items()})
    return None


class Faults:
    """All orders in force."""

    def __init__(self, published: Mapping[str, Sequence[Limit]]) -> None:
        self._published = published
        self._orders: list[Order] = []

    def add(self, given: Any) -> None:
        """Take one order or a list of them; raises marshmallow's ValidationError."""
        schema = OrderSchema()
        orders = [schema.load(order) for order in (given if isinstance(given, list) else [given])]
        self._orders += [Order(order, self._published) for order in orders]

    def clear(self) -> None:
        """Forget all orders."""
        self._orders = []

    def judge(self, endpoint: str, path: str, body: bytes, at: float) -> Verdict:
        """What is to happen to a request that arrived at `at` (Unix seconds)."""
        verdict = Verdict()
        for order in self._orders:
            order.judge(endpoint, path, body, at, verdict)
            if verdict.settled:
                break
        return verdict

    def shown(self) -> list[dict[str, Any]]:
        """The orders and what became of them so far."""
        return [order.shown() for order in self._orders]
