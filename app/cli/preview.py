"""`bridge preview`: what an event would become, without sending anything."""

import json
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

import click
import orjson

from app.door import parse
from app.errors import BadInput
from app.inbound.mapping import WebhookMapper
from app.inbound.schemas import check_webhook
from app.outbound import tracking
from app.outbound.identity import message_id
from app.outbound.mapping import CallMapper
from app.outbound.schemas import check_call
from app.outcomes import Discarded
from app.settings import Settings, load_settings


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option(
    "--inbound", is_flag=True, help="The input is an Iterable webhook, not a Segment call."
)
def preview(file: BinaryIO, inbound: bool) -> None:
    """Print, as a JSON array, the request(s) that the event(s) in FILE would cause.

    FILE (or - for standard input) holds one JSON object, an array of them, or one a line.
    Exits with 1 when an event cannot be mapped; the message names the field.
    """
    settings = load_settings()
    show = _inbound if inbound else _outbound
    shown: list[dict[str, Any]] = []
    failed = False
    for place, text in _events(file.read()):
        try:
            shown += show(parse(text) if isinstance(text, bytes) else text, settings)
        except BadInput as error:
            failed = True
            click.echo(f"{place}: {error.code}: {error.message}", err=True)
            for field, texts in error.errors.items():
                click.echo(f"  {field}: {' '.join(texts)}", err=True)
    click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    if failed:
        raise SystemExit(1)


def _outbound(event: Any, settings: Settings) -> list[dict[str, Any]]:
    mapper = CallMapper(settings)
    call = check_call(tracking.complete(event, {}))
    call["messageId"] = message_id(call)
    mapped = mapper.map(call, time.time(), "tracking")
    if isinstance(mapped, Discarded):
        return [{"discarded": mapped.reason}]
    return [request.describe() for request in mapped]


def _inbound(event: Any, settings: Settings) -> list[dict[str, Any]]:
    mapped = WebhookMapper(settings).map(check_webhook(event), time.time())
    if isinstance(mapped, Discarded):
        return [{"discarded": mapped.reason}]
    return [message.describe() for message in mapped]


def _events(text: bytes) -> Iterator[tuple[str, Any]]:
    """Every event with its place: the value itself, or the bytes of a line still to be read."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        lines = enumerate(text.splitlines(), 1)
        yield from ((f"line {number}", line) for number, line in lines if line.strip())
        return
    events = found if isinstance(found, list) else [found]
    yield from ((f"event {number}", event) for number, event in enumerate(events, 1))
