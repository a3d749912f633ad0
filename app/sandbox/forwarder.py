"""Sends every event that the stand-in Segment takes on to a URL, as a Webhooks destination does."""

import hashlib
import hmac
from collections import Counter
from queue import SimpleQueue
from threading import Thread
from typing import Any

import orjson
import requests

TIMEOUT = 5.0


class Forwarder:
    """One thread with one connection: events leave in the order they came, and are not tried again.

    The signature is HMAC-SHA1 of the body in hex (Segment, Webhooks destination).
    """

    def __init__(self) -> None:
        self._url: str | None = None
        self._secret: str | None = None
        self._queue: SimpleQueue[tuple[str, bytes, dict[str, str]]] = SimpleQueue()
        self._thread: Thread | None = None
        self._counts: Counter[str] = Counter()

    def direct(self, url: str | None, secret: str | None) -> None:
        """Send what comes from now on to `url`, signed if there is a secret; None: nowhere.

        Counting begins anew.
        """
        self._url, self._secret = url, secret
        self._counts = Counter()

    def submit(self, event: dict[str, Any]) -> None:
        """Send an event on, soon."""
        if self._url is None:
            return
        if self._thread is None:
            self._thread = Thread(target=self._run, name="forwarder", daemon=True)
            self._thread.start()
        body = orjson.dumps(event)
        headers = {"Content-Type": "application/json"}
        if self._secret:
            headers["X-Signature"] = hmac.new(self._secret.encode(), body, hashlib.sha1).hexdigest()
        self._queue.put((self._url, body, headers))

    def counts(self) -> dict[str, int]:
        """Answers so far by status (`failed`: no answer)."""
        return dict(self._counts)

    def _run(self) -> None:
        with requests.Session() as session:
            while True:
                url, body, headers = self._queue.get()
                try:
                    answer = session.post(
                        url, body, headers=headers, timeout=TIMEOUT, allow_redirects=False
                    )
                except requests.RequestException:
                    self._counts["failed"] += 1
                else:
                    self._counts[str(answer.status_code)] += 1
