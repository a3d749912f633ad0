"""Calls, webhooks and signatures as the partners make them, and a bridge's web side to send them
to."""

import base64
import gzip
import hmac
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.deadletters import letters
from app.log import open_log
from app.log.base import ITERABLE_WEBHOOKS, SEGMENT_CALLS, Log, NewRecord, Record
from app.settings import Settings

SECRET = "shared-secret-of-segment"
WRITE_KEY = "write-key-of-the-bridge"
TOKEN = "token-of-iterable"
SECRETS = (SECRET, WRITE_KEY, TOKEN)
JSON = {"Content-Type": "application/json"}
GZIP = {"Content-Encoding": "gzip"}


def track(user: str = "u1", event: str = "Song Played", **fields: Any) -> dict[str, Any]:
    """A track call with all that it needs."""
    return {"type": "track", "userId": user, "event": event, **fields}


def nobody(**fields: Any) -> dict[str, Any]:
    """A call that is well formed and cannot be mapped."""
    return {"type": "track", "anonymousId": "a1", "event": "Song Played", **fields}


def webhook(event: str = "emailOpen", **fields: Any) -> dict[str, Any]:
    """A system webhook of Iterable's."""
    return {
        "eventName": event,
        "email": "ann@example.com",
        "dataFields": {"campaignId": 7, "createdAt": "2026-03-01 09:30:00 +00:00"},
        **fields,
    }


def nested(levels: int) -> Any:
    """Objects in one another, `levels` deep."""
    value: Any = "bottom"
    for _ in range(levels):
        value = {"in": value}
    return value


def nested_json(levels: int) -> bytes:
    """The same as JSON, which orjson does not write at any depth."""
    return b'{"in":' * levels + b'"bottom"' + b"}" * levels


def signature(signed: bytes, secret: str = SECRET) -> dict[str, str]:
    """The header that Segment's Webhooks destination sends for the text that it signs."""
    return {"X-Signature": hmac.digest(secret.encode(), signed, "sha1").hex()}


def basic(user: str, password: str | None = "") -> dict[str, str]:
    """HTTP Basic authentication; no colon with the password None."""
    credentials = user if password is None else f"{user}:{password}"
    return {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}


@dataclass(frozen=True)
class Door:
    """The web side of a bridge: what is sent to it, and what its log then holds."""

    client: FlaskClient
    log: Log

    def post(
        self,
        path: str,
        body: Any,
        headers: Mapping[str, str] = JSON,
        method: str = "POST",
        zipped: bool = False,
    ) -> TestResponse:
        """Send bytes as they are and anything else as JSON; `zipped` compresses it."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        every = {**JSON, **headers}
        if zipped:
            content, every = gzip.compress(content), every | GZIP
        return self.client.open(path, method=method, data=content, headers=every)

    def calls(self) -> list[Record]:
        """The calls of Segment's that are stored."""
        return records(self.log, SEGMENT_CALLS)

    def webhooks(self) -> list[Record]:
        """The webhooks of Iterable's that are stored."""
        return records(self.log, ITERABLE_WEBHOOKS)

    def dead(self) -> list[dict[str, Any]]:
        """The dead letters."""
        return list(letters(self.log))

    def is_empty(self) -> bool:
        """Whether nothing at all is stored."""
        return not (self.calls() or self.webhooks() or self.dead())


def records(log: Log, topic: str) -> list[Record]:
    """Everything in a topic."""
    return [
        record
        for partition in range(log.partitions(topic))
        for record in log.read(topic, partition, 0)
    ]


def stored(record: Record) -> dict[str, Any]:
    """What a record holds."""
    found: dict[str, Any] = orjson.loads(record.value or b"null")
    return found


def stored_ids(folder: Path) -> list[str]:
    """The messageIds of the calls in the log of a bridge that runs in `folder`."""
    with closing(open_log(f"sqlite:///{folder}/bridge.db")) as kept:
        return [stored(record)["messageId"] for record in records(kept, SEGMENT_CALLS)]


def opened(settings: Settings, log: Log) -> Door:
    """The doors of a bridge with these settings."""
    return Door(create_app(settings, log).test_client(), log)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(open_log(f"sqlite:///{tmp_path}/bridge.db")) as found:
        yield found


LOCKED = Settings(
    segment_shared_secret=(SECRET,), bridge_write_key=(WRITE_KEY,), iterable_webhook_token=(TOKEN,)
)
OPEN = replace(
    LOCKED,
    segment_shared_secret=(),
    bridge_write_key=(),
    iterable_webhook_token=(),
    bridge_max_body=20_000,
)


@pytest.fixture
def door(log: Log) -> Door:
    """Doors that need no secret and take 20,000 bytes."""
    return opened(OPEN, log)


@pytest.fixture
def locked(log: Log) -> Door:
    """Doors that need their secrets."""
    return opened(LOCKED, log)


class FailingOnce:
    """The log, but the first append to `topic` fails."""

    def __init__(self, log: Log, topic: str, failure: Exception) -> None:
        self._log = log
        self._failures = {topic: failure}

    def append(self, topic: str, records: Sequence[NewRecord]) -> list[tuple[int, int]]:
        if failure := self._failures.pop(topic, None):
            raise failure
        return self._log.append(topic, records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


def failing_once(log: Log, topic: str, failure: Exception) -> Door:
    """Doors whose first append to `topic` fails."""
    failing: Any = FailingOnce(log, topic, failure)
    return Door(create_app(OPEN, failing).test_client(), log)


@pytest.fixture
def broken(tmp_path: Path) -> Door:
    """Doors whose log cannot be written: a file stands where its folder should be."""
    (tmp_path / "file").write_text("not a folder")
    return opened(OPEN, open_log(f"sqlite:///{tmp_path}/file/bridge.db"))
