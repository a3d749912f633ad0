"""The command `bridge`. Results go to stdout, diagnostics to stderr; 0 success, 1 failure, 2
misuse."""

import logging
import sys

import click

from app.cli.dead import dead
from app.cli.preview import preview
from app.cli.run import deliver, run, sandbox, serve
from app.cli.status import status
from app.log.base import LogUnavailable
from app.settings import SettingsError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def bridge() -> None:
    """A durable bridge between Segment and Iterable, in both directions."""


for command in (run, serve, deliver, sandbox, preview, status, dead):
    bridge.add_command(command)


def main() -> None:
    """Run the command line; errors that people can do something about are one message, no trace."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        bridge.main(prog_name="bridge", standalone_mode=True)
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except LogUnavailable as error:
        click.echo(f"The log is unavailable: {error}", err=True)
        sys.exit(1)
