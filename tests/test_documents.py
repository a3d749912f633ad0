"""What the documents say is so: tables, defaults and names agree with the code, links lead on."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from flask import Flask

from app import create_app
from app.cli import bridge as commands
from app.destination import RateLimit
from app.inbound.events import EVENT_TYPES
from app.mapping_settings import InboundMapping, OutboundMapping
from app.outbound.endpoints import LIMITS
from app.outbound.iterable import endpoints
from app.outbound.mapping import CallMapper
from app.settings import (
    NAMES,
    ROOT,
    SECRETS,
    TABLES,
    Settings,
    SettingsSchema,
    load_settings,
)

README = (ROOT / "README.md").read_text(encoding="utf-8")
TOML = (ROOT / "config/bridge.toml").read_text(encoding="utf-8")
# In config/bridge.toml a setting is `#NAME = …`, and prose has a space behind its #.
UNCOMMENTED = re.sub(r"^#(?=\S)", "", TOML, flags=re.MULTILINE)
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
DEFAULTS = {f.name.upper(): getattr(Settings(), f.name) for f in fields(Settings)}


def cells(first: str) -> list[str]:
    """The cells of the README's table row that begins with `first` in code style."""
    row = re.search(rf"^\| `{re.escape(first)}`.*$", README, re.MULTILINE)
    assert row, f"README has no table row for {first}"
    return [cell.strip() for cell in row.group().strip("|").split(" | ")]


def read_as_setting(name: str, value: Any) -> Any:
    """A documented value as the bridge would understand it."""
    return SettingsSchema().load({name: value})[name]


# Settings


@pytest.mark.parametrize("name", NAMES)
def test_setting_is_in_the_readme_with_its_default_and_a_meaning(name):
    shown, default, meaning = cells(name)

    assert ("🔒" in shown) == (name in SECRETS)
    assert meaning
    if default == "—":
        assert DEFAULTS[name] in (None, ())
    else:
        assert read_as_setting(name, default.strip("`")) == DEFAULTS[name]


@pytest.mark.parametrize("name", sorted(set(NAMES) - SECRETS))
def test_setting_is_in_the_shipped_file_with_its_default(name):
    """Where there is no default the file has an example, which is valid."""
    shown = read_as_setting(name, tomllib.loads(UNCOMMENTED)[name])

    assert DEFAULTS[name] in (None, shown)


def test_shipped_file_has_nothing_else():
    assert set(tomllib.loads(UNCOMMENTED)) == (set(NAMES) - SECRETS) | TABLES


def test_shipped_file_changes_nothing(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/bridge.toml").write_text(TOML, encoding="utf-8")

    assert load_settings({}, tmp_path) == Settings()


def test_shipped_file_is_valid_with_every_line_uncommented(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/bridge.toml").write_text(UNCOMMENTED, encoding="utf-8")

    settings = load_settings({}, tmp_path)

    assert settings.outbound.cart_events == OutboundMapping().cart_events
    assert settings.outbound.purchase_events == OutboundMapping().purchase_events
    assert CallMapper(settings)
    assert endpoints(settings)


@pytest.mark.parametrize(
    ("table", "kind"), [("outbound", OutboundMapping), ("inbound", InboundMapping)]
)
def test_shipped_file_explains_every_line_of_a_table(table, kind):
    assert set(tomllib.loads(UNCOMMENTED)[table]) == {f.name for f in fields(kind)}


def test_shipped_file_shows_the_published_limits():
    published = {
        name: limit.count
        for name, limits in LIMITS.items()
        for limit in limits
        if limit == RateLimit(limit.count)
    }

    assert tomllib.loads(UNCOMMENTED)["limits"] == published


# The README's other tables


@pytest.mark.parametrize("event", EVENT_TYPES, ids=lambda event: event.iterable)
def test_inbound_event_is_in_the_readme(event):
    assert cells(event.iterable)[1] == event.segment


@pytest.mark.parametrize("endpoint", LIMITS)
def test_iterable_endpoint_is_in_the_readme(endpoint):
    assert f"`{endpoint}`" in README


def every_command(
    group: click.Group = commands, name: str = "bridge"
) -> Iterator[tuple[str, click.Command]]:
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


@pytest.mark.parametrize(("name", "command"), list(every_command()))
def test_command_and_its_options_are_in_the_readme(name, command):
    row = re.search(rf"^\| `{name}.*$", README, re.MULTILINE)

    assert row, f"README has no table row for {name}"
    shown = row.group() + cells_of_the_selection(name)
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.opts[-1] in shown


def cells_of_the_selection(name: str) -> str:
    """`dead drop` chooses its letters as `dead replay`, in the row above, does."""
    return str(cells("bridge dead replay")) if name == "bridge dead drop" else ""


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_command_is_named_that_does_not_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    code = "\n".join(FENCE.findall(text) + re.findall(r"`[^`\n]+`", FENCE.sub("", text)))
    known = {name.split()[1] for name, _ in every_command()}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert set(re.findall(r"\bbridge ([a-z]+)\b", code)) <= known
    assert set(re.findall(r"\bmake ([a-z-]+)", code)) <= set(
        re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)
    )


def every_path(app: Flask) -> Iterator[str]:
    """The paths of the routes, without the trailing slash that some have a second time."""
    for rule in app.url_map.iter_rules():
        prefix, choice, rest = str(rule).partition("<any(")
        words = rest.partition(")")[0].split(",") if choice else [""]
        yield from (prefix.rstrip("/") + f"/{word}".rstrip("/") for word in words)


def test_every_route_is_in_the_readme(tmp_path):
    """Those under /v1 by their last word."""
    paths = set(every_path(create_app(Settings(bridge_log=f"sqlite:///{tmp_path}/bridge.db"))))
    table = "".join(re.findall(r"^\| `(?:GET|POST) .*$", README, re.MULTILINE))

    assert paths >= {"/segment", "/v1/batch", "/v1/m", "/iterable", "/health/ready"}
    assert [
        path
        for path in sorted(paths)
        if f" {path}`" not in table and f"`{path.removeprefix('/v1/')}`" not in table
    ] == []


# Links


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
        path, _, anchor = target.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        linked = ROOT / (path or document)
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def anchors(document: Path) -> set[str]:
    """The headings of a document as GitHub makes anchors of them."""
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(r"`((?:app|config|tests)/[\w./-]*)`", text)

    assert [path for path in named if not (ROOT / path).exists()] == []
