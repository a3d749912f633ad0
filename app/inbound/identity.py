"""Who an Iterable webhook is about."""

from collections.abc import Mapping
from typing import Any, NamedTuple

# Iterable gives people without an address one of this domain, and never mails it ("Handling
# Anonymous Users" article).
PLACEHOLDER_DOMAIN = "@placeholder.email"


class Identity(NamedTuple):
    """Segment knows the person by `user_id`, else by `anonymous_id`; `email` is the trait."""

    user_id: str | None
    anonymous_id: str | None
    email: str | None


def identity(webhook: Mapping[str, Any]) -> Identity | None:
    """Find the person in a webhook; None when it names nobody.

    Both identifiers may be at the top level or in `dataFields` only; the outer one is preferred.
    Without a userId the email address is the anonymousId, as in Iterable's own Segment source.
    An address that arrives hashed still tells people apart, but it is no email address: it becomes
    the anonymousId, never the trait.
    """
    fields = webhook.get("dataFields") or {}
    user_id = usable(webhook.get("userId")) or usable(fields.get("userId"))
    found = (usable(webhook.get("email")), usable(fields.get("email")))
    email = next((text for text in found if text and "@" in text), None)
    anonymous_id = None if user_id else email or found[0] or found[1]
    if not user_id and not anonymous_id:
        return None
    return Identity(user_id, anonymous_id, email)


def usable(value: object) -> str | None:
    """An identifier as text; None for nothing, blanks, placeholder addresses and other types."""
    if type(value) in (int, float):
        return id_text(value)  # type: ignore[arg-type] # mypy does not narrow by an exact type
    if not isinstance(value, str) or not value.strip():
        return None
    return None if value.strip().lower().endswith(PLACEHOLDER_DOMAIN) else value


def id_text(number: int | float) -> str:
    """A userId that somebody's code made a number: 12345 and 12345.0 are both `12345`."""
    whole = int(number)
    return str(whole if whole == number else number)
