"""`bridge status`: how far delivery is, in both directions."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from app import deadletters
from app.courier.ledger import parse_counters, parse_notices
from app.courier.receipts import of_person
from app.log import open_log
from app.log.base import ITERABLE_WEBHOOKS, SEGMENT_CALLS, Log, Progress
from app.retention import groups
from app.settings import Settings, load_settings

DIRECTIONS = {"outbound": SEGMENT_CALLS, "inbound": ITERABLE_WEBHOOKS}
WORST_LAST = ("ok", "failing", "held")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--person", help="What became of this userId's or email address's latest calls.")
def status(as_json: bool, person: str | None) -> None:
    """Show what waits, what was delivered, discarded or died, and how each destination is."""
    settings = load_settings()
    log = open_log(settings.bridge_log, settings.kafka_settings)
    try:
        if person is not None:
            receipts = of_person(log, person)
            shown: Any = receipts if as_json else "\n".join(map(_receipt, receipts))
        else:
            state = gather(log, settings, time.time())
            shown = state if as_json else _table(state)
    finally:
        log.close()
    click.echo(json.dumps(shown, indent=2) if as_json else shown)


def gather(log: Log, settings: Settings, now: float) -> dict[str, dict[str, Any]]:
    """The state of every consumer group, by direction: `{"outbound": {"waiting": …, "groups": …}}`.

    Costs the same however long the backlog is. `now` is Unix time; ages are in seconds. `dead` are
    the dead letters that stand now, `notices` what was delivered with a loss.
    """
    shown: dict[str, dict[str, Any]] = {}
    dead = deadletters.count(log)
    for direction, topic in DIRECTIONS.items():
        each = {
            group: _summary(log.progress(topic, group), now) | {"dead": dead[topic, group]}
            for group in groups(settings, topic)
        }
        main = next(iter(each.values()))
        worst = max(each.values(), key=lambda group: WORST_LAST.index(group["state"]))
        shown[direction] = {**main, "state": worst["state"], "reason": worst["reason"]}
        shown[direction]["dead"] = sum(n for (died, _), n in dead.items() if died == topic)
        shown[direction]["groups"] = each
    return shown


def _summary(progress: Iterable[Progress], now: float) -> dict[str, Any]:
    counts = {"waiting": 0, "delivered": 0, "discarded": 0, "dead": 0}
    notices: Counter[str] = Counter()
    state, reason = "ok", ""
    oldest: float | None = None
    for part in progress:
        counts["waiting"] += part.waiting
        for name, number in parse_counters(part.metadata).items():
            counts[name] += number
        notices.update(parse_notices(part.metadata))
        told = orjson.loads(part.metadata) if part.metadata else {}
        if WORST_LAST.index(told.get("state", "ok")) > WORST_LAST.index(state):
            state, reason = told["state"], told["reason"]
        if part.oldest_waiting is not None:
            oldest = min(oldest or part.oldest_waiting, part.oldest_waiting)
    age = None if oldest is None else round(max(0.0, now - oldest), 3)
    return {
        **counts,
        "oldest_waiting_seconds": age,
        "state": state,
        "reason": reason,
        "notices": dict(notices),
    }


def _table(shown: dict[str, dict[str, Any]]) -> str:
    columns = ("waiting", "delivered", "discarded", "dead", "oldest waiting", "state")
    lines = [f"{'':<22}" + "".join(f"{column:>15}" for column in columns)]
    for direction, total in shown.items():
        for group, figures in total["groups"].items():
            age = figures["oldest_waiting_seconds"]
            cells = [f"{figures[name]:,}" for name in columns[:4]]
            cells += ["-" if age is None else f"{age:,.1f} s", figures["state"]]
            lines.append(f"{direction + ' ' + group:<22}" + "".join(f"{c:>15}" for c in cells))
            if figures["reason"]:
                lines.append(f"  {figures['reason']}")
            lines += [f"  delivered, but {n:,} × {name}" for name, n in figures["notices"].items()]
    return "\n".join(lines)


def _receipt(receipt: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(receipt["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
    status = "" if receipt["status"] is None else f"HTTP {receipt['status']}"
    told = (receipt["outcome"], receipt["endpoint"], status, receipt["reason"])
    tries = f"after {receipt['attempts']} tries" if receipt["attempts"] > 1 else ""
    return "  ".join([at, receipt["message_id"] or "-", *filter(None, (*told, tries))])
