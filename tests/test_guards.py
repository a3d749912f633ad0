"""Rules of the house that no reader should have to check by hand."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import requests
import segment.analytics

from app.log.base import Log
from app.settings import NAMES, SECRETS, Settings
from tests.builders import JSON, TOKEN, WRITE_KEY, Door, basic, locked, log, signature

__all__ = ["locked", "log"]

APP = Path(__file__).resolve().parent.parent / "app"

FLASKS_OWN = {"HEAD", "OPTIONS"}
# The only addresses that anybody may use, with the method.
PUBLIC = {
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("POST", "/v1/m"),  # counters of analytics.js, which come without a key and are not kept
    ("POST", "/v1/m/"),
}


def routes(door: Door) -> Iterator[tuple[str, str]]:
    """Every method and address, but HEAD and OPTIONS, which Flask adds."""
    for rule in door.client.application.url_map.iter_rules():
        assert "<" not in rule.rule, f"say here what {rule.rule} may be"
        for address in [rule.rule] if rule.strict_slashes else [rule.rule, f"{rule.rule}/"]:
            yield from ((method, address) for method in (rule.methods or set()) - FLASKS_OWN)


def test_every_route_that_is_not_public_wants_a_secret(locked: Door) -> None:
    checked = set()
    for method, address in routes(locked):
        if (method, address) in PUBLIC:
            continue
        remote = {"REMOTE_ADDR": "192.0.2.1"}  # some pages are open to the machine itself
        answer = locked.client.open(
            address, method=method, data=b"{}", headers=JSON, environ_overrides=remote
        )
        assert answer.status_code in (401, 403), f"{method} {address} is open to anyone"
        checked.add(address)
    assert {"/segment", "/v1/track", "/v1/batch/", "/iterable"} <= checked
    assert locked.is_empty()


def test_the_public_list_names_only_what_exists(locked: Door) -> None:
    assert set(routes(locked)) >= PUBLIC


# --- who knows whom


def imports(source: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found


def importing(folder: str, *modules: str) -> list[str]:
    """The imports of `modules`, or of what is in them, in a folder of the package."""
    sources = sorted((APP / folder).rglob("*.py"))
    assert sources, f"app/{folder} is gone; this guard looks at nothing"
    return [
        f"{source.relative_to(APP)} imports {name}"
        for source in sources
        for name in sorted(imports(source))
        if any(name == module or name.startswith(f"{module}.") for module in modules)
    ]


@pytest.mark.parametrize(
    ("folder", "never"),
    [
        ("outbound", ("app.inbound",)),
        ("inbound", ("app.outbound",)),
        ("log", ("flask", "werkzeug", "requests", "segment", "app.outbound", "app.inbound")),
        ("courier", ("flask", "werkzeug", "requests", "segment", "app.outbound", "app.inbound")),
    ],
)
def test_rooms_know_only_whom_they_should(folder: str, never: tuple[str, ...]) -> None:
    assert importing(folder, *never) == []


DOORS = ("app.door", "app.outbound.blueprint", "app.inbound.blueprint", "app.state", "app.health")


def test_the_web_server_does_not_even_load_what_calls_a_partner() -> None:
    """The clients of the partners are the couriers': nothing imports them on the way to a door."""
    show = "import sys, wsgi; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", show], cwd=APP.parent, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert set(DOORS) <= loaded
    assert not loaded & {"app.outbound.iterable", "app.inbound.segment", "app.courier"}


def test_no_partner_is_called_while_answering(
    locked: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(*_: object, **__: object) -> None:
        raise AssertionError("a partner was called")

    monkeypatch.setattr(requests.Session, "send", called)
    monkeypatch.setattr(segment.analytics.Client, "__init__", called)
    call = b'{"type":"identify","userId":"u1","traits":{"email":"a@example.com"}}'
    hook = b'{"eventName":"emailOpen","email":"a@example.com"}'
    assert locked.post("/segment", call, signature(call)).status_code == 200
    assert locked.post("/v1/identify", call, basic(WRITE_KEY)).status_code == 200
    assert locked.post("/iterable", hook, {"Authorization": TOKEN}).status_code == 200


# --- secrets


def test_no_secret_is_in_the_repr_of_the_settings() -> None:
    texts = {"iterable_webhook_token", "segment_shared_secret", "bridge_write_key"}
    values = {name.lower(): f"hush-{name.lower()}" for name in SECRETS}
    settings = Settings(
        **{name: (value,) if name in texts else value for name, value in values.items()}  # type: ignore[arg-type] # by name
    )
    assert "hush" not in repr(settings)
    assert "hush" not in str(settings)


def test_everything_called_a_secret_is_treated_as_one() -> None:
    assert set(NAMES) >= SECRETS
    endings = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
    suspicious = {name for name in NAMES if name.endswith(endings)}
    assert suspicious == SECRETS
    shown = {field.name.upper() for field in fields(Settings) if field.repr}
    assert not shown & SECRETS


def test_an_application_shows_no_secret(log: Log, locked: Door) -> None:
    application = locked.client.application
    for thing in (application.config, application.extensions["bridge"].settings):
        assert WRITE_KEY not in repr(thing)
