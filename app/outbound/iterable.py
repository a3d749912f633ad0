"""The REST client for Iterable: records become requests, are sent and judged."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import orjson
import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from app.destination import Endpoint, RateLimit
from app.errors import BadInput
from app.log.base import SEGMENT_CALLS, Record
from app.outbound import bulk
from app.outbound.answers import KEY_SETTINGS, Reply, judge, read
from app.outbound.bulk import BulkEntry
from app.outbound.bulk_answers import settle
from app.outbound.endpoints import DAY, LIMITS
from app.outbound.field_types import MOST_REPAIRS, FieldTypes, complaints
from app.outbound.mapping import CallMapper
from app.outbound.request import MOBILE, SERVER, WEB, IterableRequest
from app.outbound.schemas import check_call
from app.outcomes import Answer, Dead, Discarded, Outcome, Retry, Step
from app.settings import Settings, SettingsError

GROUPS = {SERVER: "iterable", MOBILE: "iterable-mobile", WEB: "iterable-web"}


def endpoints(settings: Settings) -> Mapping[str, Endpoint]:
    """Every endpoint with its limits, each per-second one replaced where `[limits]` names it."""
    return {name: _endpoint(name, settings) for name in LIMITS}


def _endpoint(name: str, settings: Settings) -> Endpoint:
    limits = LIMITS[name]
    if name in settings.limits:
        daily = tuple(limit for limit in limits if limit.seconds >= DAY)
        limits = (RateLimit(settings.limits[name]), *daily)
    if name not in (bulk.USERS, bulk.EVENTS):
        return Endpoint(limits)
    return Endpoint(limits, bulk.MOST_ENTRIES, bulk.MOST_BYTES, settings.iterable_batch_age)


class IterableClient:
    """Requests to one project with one key, over a pool of connections that are kept open.

    `clock` gives Unix seconds, for a `Retry-After` that is a date.
    """

    def __init__(
        self, settings: Settings, key: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._secret = _secret(settings, key)
        self._base = settings.iterable_base_url
        self._timeout = (settings.iterable_timeout, settings.iterable_timeout)
        self._clock = clock
        self._session = requests.Session()
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=settings.bridge_delivery_threads)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        # Proxies and certificates from the environment: looked up once instead of at every request.
        self._transport = self._session.merge_environment_settings(self._base, {}, None, None, None)
        self._headers = {
            "Api-Key": self._secret,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "segment-iterable-bridge",
        }

    def send(self, method: str, path: str, content: bytes) -> Reply | Retry:
        """One request, redirects not followed; a Retry when there was no answer. Never raises."""
        request = requests.PreparedRequest()
        request.method, request.url = method, self._base + path
        request.headers = CaseInsensitiveDict(self._headers)
        request.hooks = {}
        request.prepare_cookies(self._session.cookies)
        if content:
            request.body = content
            request.headers["Content-Length"] = str(len(content))
        try:
            response = self._session.send(
                request, timeout=self._timeout, allow_redirects=False, **self._transport
            )
        except requests.RequestException as error:
            return self._no_answer(error)
        reply = read(response.status_code, response.headers, response.content, self._clock())
        if self._secret in reply.answer.body:
            # Answers are kept and shown; none may quote the key, whoever wrote it.
            shown = reply.answer.body.replace(self._secret, "***")
            reply = replace(reply, answer=Answer(reply.status, shown))
        return reply

    def _no_answer(self, error: requests.RequestException) -> Retry:
        """Whether it arrived is unknown; ids make it harmless to send it again."""
        slow = isinstance(error, requests.Timeout)
        # The error's own text may quote the address, and with it a person's.
        answer = Answer(None, f"{type(error).__name__} at {self._base}")
        return Retry("timeout" if slow else "no_connection", answer, failing=True)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _secret(settings: Settings, key: str) -> str:
    """The API key to use; raises SettingsError, without quoting it, when it cannot be sent."""
    name = KEY_SETTINGS[key]
    secret: str | None = getattr(settings, name.lower())
    if not secret:
        raise SettingsError(f"{name}: is missing")
    if not (secret.isascii() and secret.isprintable()):
        raise SettingsError(f"{name}: has characters that an HTTP header cannot carry")
    return secret


class IterableDestination:
    """Segment's calls on their way to Iterable, with one of the project's keys."""

    direction = "outbound"
    topic = SEGMENT_CALLS

    def __init__(
        self, settings: Settings, key: str = SERVER, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = key
        self._client = IterableClient(settings, key, clock)
        self._mapper = CallMapper(settings)
        self._types = FieldTypes()
        self._batching = settings.iterable_batching
        self.group = GROUPS[key]
        self.endpoints = endpoints(settings)

    def prepare(self, record: Record) -> Sequence[Step] | Discarded | Dead:
        """Map a call to the requests for this destination's key."""
        try:
            mapped = self._map(record)
        except BadInput as error:
            return Dead(error.code)
        if isinstance(mapped, Discarded):
            # Each group settles the record; one of them is enough to tell that it was discarded.
            return mapped if self._key == SERVER else ()
        own = [request for request in mapped if request.key == self._key]
        return [bulk.entry(request) for request in own] if self._batching else own

    def _map(self, record: Record) -> tuple[IterableRequest, ...] | Discarded:
        try:
            # What was refused at the door and is replayed was never checked.
            call = check_call(orjson.loads(record.value or b""))
        except orjson.JSONDecodeError:
            raise BadInput("invalid_json", "the call is not JSON") from None
        received_at = float(record.headers.get("received-at") or record.appended_at)
        return self._mapper.map(call, received_at, record.headers.get("door", "tracking"))

    def deliver(self, endpoint: str, steps: Sequence[Step]) -> list[Outcome]:
        """Send the steps in one request; fields known to be refused are put right before."""
        fitted = [self._types.fit(cast(IterableRequest, step)) for step in steps]
        if endpoint in (bulk.USERS, bulk.EVENTS):
            return self._deliver_together(cast(list[BulkEntry], fitted))
        return [self._deliver_alone(request) for request in fitted]

    def _deliver_alone(self, request: IterableRequest) -> Outcome:
        reply = self._client.send(request.method, request.path, request.content)
        if isinstance(reply, Retry):
            return reply
        outcome = judge(reply, request)
        if isinstance(outcome, Dead):
            return self._without_refused_fields([request], reply, [outcome])[0]
        return outcome

    def _deliver_together(self, entries: Sequence[BulkEntry]) -> list[Outcome]:
        # Others wait for a request whose options they share; in small company they find it at once.
        outcomes: list[Outcome] = [Retry("other_options", after=0, split=True)] * len(entries)
        sharing = bulk.company(entries)
        sent = [entries[index] for index in sharing]
        reply = self._client.send("POST", sent[0].path, bulk.compose(sent))
        if isinstance(reply, Retry):
            settled: list[Outcome] = [reply] * len(sent)
        else:
            settled = settle(sent, reply)
            settled = self._without_refused_fields(sent, reply, settled)
        for index, outcome in zip(sharing, settled, strict=True):
            outcomes[index] = outcome
        return outcomes

    def _without_refused_fields(
        self, sent: Sequence[IterableRequest], reply: Reply, outcomes: Sequence[Outcome]
    ) -> list[Outcome]:
        """Instead of a request refused for some fields: the same without the trouble."""
        named = complaints(reply)
        repaired = self._types.repair(sent, named) if named else {}
        if not repaired:
            return list(outcomes)
        again = Retry("field_types", reply.answer, after=0)
        return [
            again
            if index not in repaired
            else Dead("field_types", reply.answer)
            if repaired[index].repairs > MOST_REPAIRS
            else Retry("field_types", reply.answer, after=0, instead=repaired[index])
            for index in range(len(sent))
        ]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
