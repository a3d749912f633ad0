"""`bridge run`, `serve`, `deliver` and `sandbox`: the commands that stay."""

import os
import signal
import sys
import threading
from urllib.parse import urlsplit

import click

from app import lifeline
from app.cli.supervisor import Child, supervise
from app.settings import ROOT, Settings, load_settings

ITERABLE_PORT = 9101
SEGMENT_PORT = 9102


@click.command()
def run() -> None:
    """Start everything on this machine: web server and delivery; Ctrl-C stops it.

    Without any partner credentials the sandbox starts too and the bridge points itself at it.
    """
    settings = load_settings()
    environ: dict[str, str] = {}
    children = [Child("web", ["serve"]), Child("delivery", ["deliver"])]
    if not settings.has_partner_credentials:
        iterable, segment = _port(settings.iterable_base_url, ITERABLE_PORT), SEGMENT_PORT
        segment = _port(settings.segment_host, SEGMENT_PORT)
        environ = _sandbox_settings(iterable, segment)
        ports = ["--iterable-port", str(iterable), "--segment-port", str(segment)]
        children.append(Child("sandbox", ["sandbox", *ports]))
        click.echo(
            "No partner credentials are set, so the sandbox starts too and nothing leaves this "
            f"machine:\n  stand-in Iterable  {environ['ITERABLE_BASE_URL']}\n"
            f"  stand-in Segment   {environ['SEGMENT_HOST']}"
        )
    click.echo(f"The bridge listens on {_shown(settings)}")
    sys.stdout.flush()
    sys.exit(supervise(children, environ))


def _port(url: str | None, default: int) -> int:
    """The port of a sandbox address that the settings name; the usual one for any other address."""
    parts = urlsplit(url or "")
    return parts.port if parts.hostname in ("127.0.0.1", "localhost") and parts.port else default


def _sandbox_settings(iterable_port: int, segment_port: int) -> dict[str, str]:
    return {
        "ITERABLE_API_KEY": "sandbox",
        "ITERABLE_BASE_URL": f"http://127.0.0.1:{iterable_port}",
        "SEGMENT_WRITE_KEY": "sandbox",
        "SEGMENT_HOST": f"http://127.0.0.1:{segment_port}",
        "BRIDGE_ALLOW_UNAUTHENTICATED": "true",
    }


def _shown(settings: Settings) -> str:
    bind = settings.bridge_bind
    return bind if bind.startswith("unix:") else f"http://{bind}"


@click.command()
def serve() -> None:
    """Start the web server alone (the same as gunicorn -c config/gunicorn.conf.py wsgi:app)."""
    load_settings()  # wrong settings are told here, once, and not by every worker
    config = str(ROOT / "config/gunicorn.conf.py")
    command = [sys.executable, "-m", "gunicorn", "-c", config, "--pythonpath", str(ROOT)]
    os.execv(sys.executable, [*command, "wsgi:app"])  # noqa: S606 # our own interpreter, no shell


@click.command()
def deliver() -> None:
    """Start delivery alone; as many processes as the log engine allows may run side by side."""
    from app.delivery import deliver as deliver_until
    from app.delivery import routes
    from app.log import open_log

    settings = load_settings()
    found = routes(settings)
    for setting, group, direction in (
        ("ITERABLE_API_KEY", "iterable", "Segment → Iterable"),
        ("SEGMENT_WRITE_KEY", "segment", "Iterable → Segment"),
    ):
        if group not in found:
            click.echo(f"{setting} is not set: {direction} is stored, and waits.", err=True)
    stop = threading.Event()
    _stop_on_signals(stop)
    lifeline.watch()
    log = open_log(settings.bridge_log, settings.kafka_settings)
    try:
        sys.exit(0 if deliver_until(settings, log, stop) else 1)
    finally:
        log.close()


@click.command()
@click.option("--iterable-port", default=ITERABLE_PORT, show_default=True, type=int)
@click.option("--segment-port", default=SEGMENT_PORT, show_default=True, type=int)
def sandbox(iterable_port: int, segment_port: int) -> None:
    """Start local stand-ins for Iterable's API and Segment's Tracking API.

    Their front pages show what they received; POST /faults makes them fail as told.
    """
    from app.sandbox.main import serve as serve_standins

    lifeline.watch()

    def announce(iterable: str, segment: str) -> None:
        click.echo(f"stand-in Iterable  {iterable}\nstand-in Segment   {segment}")
        sys.stdout.flush()

    serve_standins(iterable_port, segment_port, announce=announce)


def _stop_on_signals(stop: threading.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
