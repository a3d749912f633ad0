"""Who may send: signatures, keys and tokens, always compared in constant time."""

import base64
import hmac
import json
import re
from collections.abc import Iterable

FIRST = re.compile(r"\s*\[\s*")
# Only the place where an element ends matters: numbers stay texts, however long they are.
SCANNER = json.JSONDecoder(parse_int=str, parse_float=str)
SCHEMES = ("basic ", "oauth2 ", "bearer ")


class Unauthorized(Exception):
    """The sender's secret is missing or wrong. The message says what is expected, never what
    came."""


def is_one_of(given: str, secrets: Iterable[str]) -> bool:
    """Whether `given` is one of `secrets`; looks at every one, so that time tells nothing."""
    mine = given.encode()
    return sum(hmac.compare_digest(mine, secret.encode()) for secret in secrets) > 0


def is_signed(body: bytes, signature: str, secrets: Iterable[str]) -> bool:
    """Whether `signature` is Segment's for `body`: HMAC-SHA1 in hex (Segment, Webhooks
    destination)."""
    given = signature.strip().lower()
    return is_one_of(given, [hmac.digest(s.encode(), body, "sha1").hex() for s in secrets])


def first_element(body: bytes) -> bytes | None:
    """The bytes of the first element of a JSON array, as Segment wrote them; None without one.

    Segment signs only the first element of a batch, over its own compact JSON. Cutting it out of
    the received text is exact, where serialising it anew would spell some numbers differently.
    """
    try:
        text = body.decode()
        start = FIRST.match(text)
        end = SCANNER.raw_decode(text, start.end())[1] if start else 0
    except (ValueError, RecursionError):
        return None
    return text[start.end() : end].encode() if start else None


def basic_credentials(authorization: str) -> tuple[str, str]:
    """The user name and password of a Basic `Authorization` header; empty where there are none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:  # not base64, not ASCII or not UTF-8
        return "", ""
    user, _, password = decoded.partition(":")
    return user, password


def webhook_tokens(authorization: str, header: str) -> list[str]:
    """The tokens that Iterable may mean.

    Its type Basic sends the token bare, its type OAuth2 behind `OAuth2 ` (Iterable, System
    Webhooks); whoever wants real HTTP Basic has the token as the password or the user name.
    """
    tokens = [token.strip() for token in (authorization, header) if token.strip()]
    for scheme in SCHEMES:
        if authorization.lower().startswith(scheme):
            tokens.append(authorization[len(scheme) :].strip())
    return tokens + [part for part in basic_credentials(authorization) if part]
