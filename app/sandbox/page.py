"""The stand-ins' page for people: plain tables of what has arrived."""

from html import escape
from typing import Any

import orjson

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
       color: #1c2530; background: #fff }
h2 { margin-top: 2rem; font-size: 1.1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #ddd;
         overflow-wrap: anywhere }
th { white-space: nowrap; overflow-wrap: normal }
td { font: 13px/1.4 ui-monospace, monospace }
p { color: #5a6675 }
"""


def render(name: str, state: dict[str, Any]) -> bytes:
    """An HTML page with one section for each part of `state`, lists newest first."""
    sections = "".join(
        f"<h2>{escape(title.replace('_', ' '))}</h2>{_section(part)}"
        for title, part in state.items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(name)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(name)}</h1><p>A local stand-in. Reload to see what has arrived since.</p>"
        f"{sections}</body></html>"
    ).encode()


def _section(part: Any) -> str:
    if not part:
        return "<p>nothing yet</p>"
    if isinstance(part, dict):
        rows = "".join(_row([name, value]) for name, value in part.items())
        return f"<table>{rows}</table>"
    if isinstance(part, list):
        columns = list(dict.fromkeys(name for entry in part for name in entry))
        head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
        rows = "".join(_row([entry.get(column) for column in columns]) for entry in part[::-1])
        return f"<table><tr>{head}</tr>{rows}</table>"
    return f"<p>{_text(part)}</p>"


def _row(values: list[Any]) -> str:
    return f"<tr>{''.join(f'<td>{_text(value)}</td>' for value in values)}</tr>"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return escape(value if isinstance(value, str) else orjson.dumps(value).decode())
