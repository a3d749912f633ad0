"""What all clients of Kafka here have in common: settings, conversions, and errors in words."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message

from app.kafka_settings import KafkaSettings
from app.log.base import LogUnavailable, NewRecord, Record
from app.log.forks import ForkAware

logger = logging.getLogger("bridge.kafka")


class Sparing(logging.Filter):
    """Lets a line pass once a minute: while a broker is away, librdkafka says so many times a
    second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is new, but for its numbers at the end."""
        line, now = record.getMessage().split(" (after ")[0], self._clock()
        self._said = {said: at for said, at in self._said.items() if now - at < 60.0}
        if line in self._said:
            return False
        self._said[line] = now
        return True


logger.addFilter(Sparing())

# Seconds: Segment gives up on a request after five, so a door must know sooner.
TIMEOUT = 3.0
# Bytes: the largest record that the clients let pass; what is stored is up to the topic.
LARGEST_RECORD = 64 * 1024 * 1024

CONSUMERS_ONLY = ("auto.offset.", "fetch.", "heartbeat.", "max.poll.", "queued.", "session.")
PRODUCERS_ONLY = ("batch.", "compression.", "linger.", "message.send.", "queue.buffering.")

Config = dict[str, Any]
T = TypeVar("T")


class Cluster:
    """Where the brokers are and under which prefix the topics; makes the clients' settings."""

    def __init__(self, servers: str, prefix: str, settings: KafkaSettings) -> None:
        self.servers = servers
        self.prefix = prefix
        self.settings = settings

    def name(self, topic: str) -> str:
        """What a topic is called on the brokers."""
        return f"{self.prefix}.{topic}"

    def admin(self) -> Config:
        """Settings for requests outside any group; their errors are raised, so nothing is
        logged."""
        skipped = CONSUMERS_ONLY + PRODUCERS_ONLY
        return {**self._common(), **self._own(skipped), "log_level": 0}

    def producer(self, **more: Any) -> Config:
        """Settings for a producer."""
        return {**self._common(), **self._own(CONSUMERS_ONLY), **more, "logger": logger}

    def consumer(self, defaults: Config, **more: Any) -> Config:
        """Settings for a consumer: `defaults` can be overridden in `[kafka]`, `more` can not."""
        ours = {
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
        }
        return {**self._common(), **defaults, **self._own(PRODUCERS_ONLY), **ours, **more}

    def unavailable(self, error: KafkaError | Exception, doing: str) -> LogUnavailable:
        """Say what failed in words that help."""
        if isinstance(error, KafkaException):
            error = error.args[0]
        reason = error.str() if isinstance(error, KafkaError) else str(error)
        return LogUnavailable(f"the log on Kafka at {self.servers} cannot {doing}: {reason}")

    def _common(self) -> Config:
        return {
            "bootstrap.servers": self.servers,
            "client.id": "bridge",
            "message.max.bytes": LARGEST_RECORD,
            "receive.message.max.bytes": 2 * LARGEST_RECORD,
            # The default of ten seconds would add itself to every outage.
            "reconnect.backoff.max.ms": 1000,
        }

    def _own(self, skipped: tuple[str, ...]) -> Config:
        """What the user set, without what this kind of client would only warn about."""
        chosen = self.settings.client.items()
        return {name: value for name, value in chosen if not name.startswith(skipped)}


def verdict(answer: "Future[T]", patience: float) -> T:
    """What an admin request with a time limit of `patience` seconds brought.

    Raises KafkaException, also when there is no answer at all: librdkafka loses some when a broker
    restarts.
    """
    try:
        return answer.result(2 * patience)
    except TimeoutError:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None


def encode_headers(record: NewRecord) -> list[tuple[str, str | bytes | None]]:
    """Headers as Kafka has them: their values are bytes."""
    return [(name, value.encode()) for name, value in record.headers.items()]


def to_record(topic: str, message: Message) -> Record:
    """A message as a record of `topic`. Whatever others may have put there can be expressed."""
    key, offset, partition = message.key(), message.offset(), message.partition()
    assert offset is not None  # noqa: S101 # only messages with an error have none
    assert partition is not None  # noqa: S101
    headers = {header[0]: _text(header[1]) for header in message.headers() or ()}
    value = message.value()
    body = value.encode() if isinstance(value, str) else value
    appended_at = message.timestamp()[1] / 1000
    return Record(topic, partition, offset, _text(key), body, headers, appended_at)


def _text(value: str | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


# Clients whose threads stayed behind in the parent process: to destroy one would wait for them.
_inherited: list[object] = []


class PerProcess(ForkAware, Generic[T]):
    """Something that is made at its first use, and made anew in a forked process."""

    def __init__(self, make: Callable[[], T]) -> None:
        super().__init__()
        self._make = make
        self._lock = threading.Lock()
        self._made: T | None = None

    def get(self) -> T:
        """Return this process's one."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def take(self) -> T | None:
        """Return it, if there is one, and forget it; the next `get` makes another."""
        with self._lock:
            made, self._made = self._made, None
            return made

    def before_fork(self) -> None:
        """Wait until no thread is making one."""
        self._lock.acquire()

    def after_fork(self, in_child: bool) -> None:
        """The child needs its own: librdkafka does not survive a fork."""
        if in_child and self._made is not None:
            _inherited.append(self._made)
            self._made = None
        self._lock.release()
