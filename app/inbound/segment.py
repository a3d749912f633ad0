"""The way out to Segment: analytics-python, one client a flush, one outcome a message.

The library answers nothing by itself: `track()` only queues, `flush()` waits, and `on_error` gets
what failed. A message is delivered when it was queued, the flush came back, and `on_error` did not
get it. Around that stand its traps (analytics-python 2.4.0):

- A client that was forked, or whose consumer thread died, takes messages and never sends them, and
  its flush blocks for ever. So each flush has a client of its own and a deadline.
- It retries by itself, for minutes, and waits out a Retry-After of up to half an hour. The courier
  does that, for all its endpoints together, so retries are off and the verdict comes at once.
- Its log shows whole messages, with the write key at level DEBUG. Whatever it says of a failure
  is in the outcome, so it is silenced.
"""

import logging
from collections.abc import Mapping, Sequence
from threading import Thread
from typing import cast

import orjson
from segment.analytics import Client

from app.destination import Endpoint
from app.errors import BadInput
from app.inbound.mapping import WebhookMapper
from app.inbound.message import IDENTIFY, INTEGRATIONS, SegmentMessage
from app.inbound.relief import relieved
from app.inbound.schemas import check_webhook
from app.inbound.session import close_session
from app.inbound.verdicts import Verdicts
from app.log.base import ITERABLE_WEBHOOKS, Record
from app.outcomes import Dead, Delivered, Discarded, Outcome, Retry, Step
from app.settings import Settings

# Segment takes 500 KB a request (HTTP API, batch). The library cuts a batch itself at 475,000
# bytes; staying below makes one request of one flush.
BATCH = Endpoint(batch_size=100, batch_bytes=450_000, linger=0.05)

_FAR_FUTURE = 1e11  # Unix seconds; beyond what a calendar holds

# Seconds for which a client that has nothing left to send still looks into its queue.
_IDLE = 0.1


class SegmentDestination:
    """Delivers `iterable.webhooks` to the Segment source of SEGMENT_WRITE_KEY.

    `timeout`: seconds that Segment may take to connect, and between two bytes of its answer.
    `deadline`: seconds after which a flush counts as failed, whatever the library is doing.
    """

    direction = "inbound"
    topic = ITERABLE_WEBHOOKS
    group = "segment"
    endpoints: Mapping[str, Endpoint] = {"batch": BATCH}

    def __init__(self, settings: Settings, timeout: float = 15.0, deadline: float = 40.0) -> None:
        self._mapper = WebhookMapper(settings)
        self._write_key = settings.segment_write_key or ""
        self._host = settings.segment_host
        self._timeout = timeout
        self._deadline = deadline
        logging.getLogger("segment").setLevel(logging.CRITICAL)

    def prepare(self, record: Record) -> Sequence[Step] | Discarded | Dead:
        """Map a stored webhook; Dead with BadInput's code, or `not_json`, when it is unusable."""
        if record.value is None:
            return ()
        try:
            webhook = check_webhook(orjson.loads(record.value))
        except orjson.JSONDecodeError:
            return Dead("not_json")
        except BadInput as error:
            return Dead(error.code)
        return self._mapper.map(webhook, _received_at(record))

    def deliver(self, endpoint: str, steps: Sequence[Step]) -> list[Outcome]:
        """Send `steps` in one flush; see `app.inbound.verdicts` for what becomes what."""
        messages = cast(Sequence[SegmentMessage], steps)
        verdicts = Verdicts()
        client = self._client(len(messages), verdicts)
        queued = [_queue(client, message) for message in messages]
        flushed = self._flush(client)
        return [
            (verdicts.of(message.message_id) or (hoped if flushed else _LATE))
            if isinstance(hoped, Delivered)
            else hoped
            for message, hoped in zip(messages, queued, strict=True)
        ]

    def close(self) -> None:
        """Close the connections to Segment."""
        close_session()

    def _client(self, count: int, verdicts: Verdicts) -> Client:
        """A client for `count` messages whose consumer is not running yet.

        It starts when all are queued, so that it finds a full batch and sends it without waiting
        for more. `send=False` is the library's way not to start it, and keeps `atexit` from
        holding on to every client there ever was.
        """
        client = Client(
            self._write_key,
            host=self._host,
            on_error=verdicts.on_error,
            send=False,
            max_queue_size=BATCH.batch_size,
            max_retries=0,
            max_rate_limit_duration=0,
            timeout=self._timeout,
            upload_size=max(1, count),
            upload_interval=_IDLE,
        )
        client.send = True
        return client

    def _flush(self, client: Client) -> bool:
        """Whether every queued message had its answer within the deadline."""
        if client.queue.empty():
            return True
        barrier = Thread(target=client.flush, name="segment-flush", daemon=True)
        barrier.start()  # first: to start a thread beside a busy one takes longer
        (consumer,) = client.consumers
        consumer.start()
        barrier.join(self._deadline)
        consumer.pause()  # it ends by itself within _IDLE; nobody needs to wait for it
        return not barrier.is_alive()


_LATE = Retry("no_answer_in_time", failing=True)


def _queue(client: Client, message: SegmentMessage) -> Outcome:
    """Queue a message and return what it comes to, unless Segment should refuse it."""
    notice = None
    try:
        queued = _call(client, message)
    except RuntimeError:  # over 32 KB, says the library, and quotes all of it
        smaller = relieved(message)
        if smaller is None:
            return Dead("too_large")
        queued = _call(client, smaller)
        notice = "large_fields_removed"
    return Delivered(notice=notice) if queued else Retry("queue_full", after=0.0)


def _call(client: Client, message: SegmentMessage) -> bool:
    common = {
        "user_id": message.user_id,
        "anonymous_id": message.anonymous_id,
        "context": dict(message.context),  # the library writes into it
        "integrations": INTEGRATIONS,
        "timestamp": message.timestamp,
        "message_id": message.message_id,
    }
    if message.type == IDENTIFY:
        queued, _ = client.identify(traits=message.body, **common)
    else:
        queued, _ = client.track(event=message.event, properties=message.body, **common)
    return bool(queued)


def _received_at(record: Record) -> float:
    """When the webhook was received (Unix seconds), which the door notes in a header."""
    try:
        received_at = float(record.headers["received-at"])
    except (KeyError, ValueError):
        return record.appended_at
    return received_at if 0 <= received_at < _FAR_FUTURE else record.appended_at
