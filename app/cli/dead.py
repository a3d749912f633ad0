"""`bridge dead`: look at dead letters, put them back on the road, or drop them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click
from tqdm import tqdm

from app import deadletters
from app.log import open_log
from app.log.base import Log
from app.settings import load_settings

CHUNK = 500

Letter = dict[str, Any]


@click.group()
def dead() -> None:
    """Dead letters: what could never be delivered, with its reason, its answer and its request."""


@dead.command("list")
@click.option("--reason", help="Only those with this reason code.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_letters(reason: str | None, as_json: bool) -> None:
    """List the dead letters, oldest first."""
    with _log() as log:
        for letter in _chosen(log, (), reason):
            click.echo(json.dumps(letter) if as_json else _line(letter))


@dead.command()
@click.argument("letter_id", metavar="ID")
def show(letter_id: str) -> None:
    """Print a dead letter whole: the call, the request as sent, the partner's answer."""
    with _log() as log:
        for letter in _chosen(log, (letter_id,), None):
            click.echo(json.dumps(letter, indent=2, ensure_ascii=False))
            return
    raise click.ClickException(f"There is no dead letter {letter_id}.")


_selection = (
    click.argument("ids", metavar="[ID…]", nargs=-1),
    click.option("--all", "everything", is_flag=True, help="Every dead letter."),
    click.option("--reason", help="Those with this reason code."),
)


def selecting(command: Any) -> Any:
    """Give a command the ways to choose dead letters."""
    for option in reversed(_selection):
        command = option(command)
    return command


@dead.command()
@selecting
def replay(ids: Sequence[str], everything: bool, reason: str | None) -> None:
    """Deliver dead letters again, through the normal road and with their ids.

    It can be interrupted and started again: what is replayed is no dead letter any more.
    """
    _work_off(ids, everything, reason, "replayed")


@dead.command()
@selecting
def drop(ids: Sequence[str], everything: bool, reason: str | None) -> None:
    """Forget dead letters for good."""
    _work_off(ids, everything, reason, "dropped")


def _work_off(ids: Sequence[str], everything: bool, reason: str | None, done: str) -> None:
    if not ids and not everything and not reason:
        raise click.UsageError("Name the IDs, or use --reason CODE or --all.")
    with _log() as log:
        total = sum(1 for _ in _chosen(log, ids, reason))
        left = _chosen(log, ids, reason)
        with tqdm(total=total, unit="letter", desc=done) as progress:
            while chunk := list(islice(left, CHUNK)):
                if done == "replayed":
                    deadletters.replay(log, chunk)
                else:
                    deadletters.drop(log, [letter["id"] for letter in chunk])
                progress.update(len(chunk))
    if ids and total < len(set(ids)):
        raise click.ClickException(f"{total} {done}; some of the IDs are no dead letters.")
    click.echo(f"{total} {done}")


def _chosen(log: Log, ids: Sequence[str], reason: str | None) -> Iterator[Letter]:
    wanted = set(ids)
    for letter in deadletters.letters(log):
        if (not wanted or letter["id"] in wanted) and reason in (None, letter["reason"]):
            yield letter


def _line(letter: Letter) -> str:
    died = datetime.fromtimestamp(letter["died_at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
    status = (letter.get("answer") or {}).get("status") or "-"
    return f"{letter['id']}  {died}  {letter['reason']:<22} {status!s:>4}  {letter['key']}"


@contextmanager
def _log() -> Iterator[Log]:
    """The log of the settings, closed in the end."""
    settings = load_settings()
    log = open_log(settings.bridge_log, settings.kafka_settings)
    try:
        yield log
    finally:
        log.close()
