"""A member of a consumer group of the log on Kafka."""

import time
from collections import deque
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from app.log.base import Commit, Record, Revoked
from app.log.kafka_client import Cluster, Config, logger, to_record

CHUNK = 500  # records taken over from librdkafka at once
TURN = 100  # records of one partition that are given out before it is another's turn
AHEAD = 4_000  # records, and
AHEAD_BYTES = 16 * 1024 * 1024  # bytes, that are read ahead to give every partition its turn
FULL = AHEAD + 1_000  # records with which a courier that takes none stops all fetching
REBALANCING = (KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION)
COMMITTED = 10.0  # seconds
COMMIT_AGAIN = 0.1  # seconds between tries while the group rebalances, and
COMMIT_TRIES = 30  # so many more of them

DEFAULTS: Config = {
    # So long after a courier was killed, others take over. Brokers allow no less than six seconds.
    "session.timeout.ms": 10_000,
    "heartbeat.interval.ms": 2_000,
    # A stretch of each partition at a time, and a queue that is short, but never waits when empty.
    "fetch.message.max.bytes": 256 * 1024,
    "queued.min.messages": 1_000,
    "queued.max.messages.kbytes": 16 * 1024,
    "fetch.queue.backoff.ms": 10,
    "fetch.error.backoff.ms": 100,
}


class Buffer:
    """Records read ahead, given out in turn; within each partition they keep their order."""

    def __init__(self) -> None:
        self._queues: dict[int, deque[Record]] = {}
        self._turns: deque[int] = deque()
        self._bytes = 0
        self.count = 0

    @property
    def ahead(self) -> bool:
        """Whether no more need be read now."""
        return self.count >= AHEAD or self._bytes >= AHEAD_BYTES

    def add(self, record: Record) -> None:
        """Put a record behind the others of its partition."""
        if record.partition not in self._queues:
            self._queues[record.partition] = deque()
            self._turns.append(record.partition)
        self._queues[record.partition].append(record)
        self._count(record, 1)

    def take(self, limit: int) -> list[Record]:
        """Give out up to `limit` records."""
        records: list[Record] = []
        while self._turns and len(records) < limit:
            partition = self._turns.popleft()
            queue = self._queues[partition]
            taken = [queue.popleft() for _ in range(min(TURN, limit - len(records), len(queue)))]
            for record in taken:
                self._count(record, -1)
            records += taken
            if queue:
                self._turns.append(partition)
            else:
                del self._queues[partition]
        return records

    def drop(self, partition: int) -> None:
        """Forget a partition's records: whoever reads it next starts at the committed offset."""
        for record in self._queues.pop(partition, ()):
            self._count(record, -1)
        self._turns = deque(number for number in self._turns if number != partition)

    def _count(self, record: Record, sign: int) -> None:
        self.count += sign
        self._bytes += sign * len(record.value or b"")


class KafkaConsumer:
    """See `app.log.base.Consumer`. It belongs to the process that made it, not to a fork of it.

    `monotonic` tells seconds since anything, `sleep` waits.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        group: str,
        on_revoked: Revoked,
        partitions: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._name = cluster.name(topic)
        self._group = group
        self._on_revoked = on_revoked
        self._count = partitions
        self._monotonic = monotonic
        self._sleep = sleep
        self._client: Client | None = None
        self._assigned: set[int] = set()
        self._paused: set[int] = set()
        self._expected: dict[int, int] = {}
        self._buffer = Buffer()

    @property
    def partitions(self) -> int:
        """See `Consumer.partitions`. Raises LogUnavailable as long as nobody could be asked."""
        return self._count()

    @property
    def assignment(self) -> frozenset[int]:
        """See `Consumer.assignment`."""
        return frozenset(self._assigned)

    def poll(self, limit: int, timeout: float) -> list[Record]:
        """See `Consumer.poll`. With `limit` 0 it waits for `timeout` all the same."""
        client = self._joined()
        deadline = self._monotonic() + timeout
        while True:
            self._throttle(client)
            self._read_ahead(client)
            records = self._buffer.take(limit)
            left = deadline - self._monotonic()
            if records or left <= 0:
                return records
            # Alone, because `consume` would wait for a whole chunk.
            self._take_in([message] if (message := client.poll(left)) else [])

    def commit(self, commits: Mapping[int, Commit]) -> None:
        """See `Consumer.commit`."""
        held = [
            TopicPartition(self._name, number, commit.offset, commit.metadata)
            for number, commit in commits.items()
            if number in self._assigned
        ]
        if not held or self._client is None:
            return
        error = self._store(self._client, held)
        for _ in range(COMMIT_TRIES):
            if error is None or error.code() not in REBALANCING:
                break
            # What is assigned stays so until the next poll, and a member that lost its partitions
            # gets no new generation before it, so what succeeds later is right.
            self._sleep(COMMIT_AGAIN)
            error = self._store(self._client, held)
        if error:
            raise self._cluster.unavailable(error, "take a commit")

    def _store(self, client: Client, places: list[TopicPartition]) -> KafkaError | None:
        try:
            answers = client.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            failed: KafkaError = error.args[0]
            return failed
        return next((place.error for place in answers or () if place.error), None)

    def committed(self, partition: int) -> Commit | None:
        """See `Consumer.committed`. Raises LogUnavailable."""
        try:
            place = TopicPartition(self._name, partition)
            [found] = self._joined().committed([place], timeout=COMMITTED)
        except KafkaException as error:
            raise self._cluster.unavailable(error, "be asked for the progress") from error
        if found.error:
            raise self._cluster.unavailable(found.error, "be asked for the progress")
        return Commit(found.offset, found.metadata or "") if found.offset >= 0 else None

    def close(self) -> None:
        """See `Consumer.close`. A static member's partitions wait for it to come back."""
        client, assigned = self._client, frozenset(self._assigned)
        if client is None:
            return
        try:
            if assigned:
                self._on_revoked(assigned)
        finally:
            self._forget(assigned)
            client.close()
            self._client = None

    def _joined(self) -> Client:
        """The client, which asks for membership at the first call."""
        if self._client is None:
            self._count()  # nobody can subscribe to a topic that is not there yet
            config = {
                "group.id": self._group,
                "partition.assignment.strategy": "cooperative-sticky",
                "logger": logger,
            }
            if self._cluster.settings.instance:
                config["group.instance.id"] = self._cluster.settings.instance
            try:
                self._client = Client(self._cluster.consumer(DEFAULTS, **config))
            except KafkaException as error:
                raise self._cluster.unavailable(error, "be read") from error
            self._client.subscribe(
                [self._name],
                on_assign=self._gained,
                on_revoke=self._leaving,
                on_lost=self._lost,
            )
        return self._client

    # librdkafka calls these within poll and consume, in the thread that polls. It assigns and
    # unassigns by itself when they return.

    def _gained(self, _: Client, places: list[TopicPartition]) -> None:
        self._assigned |= {place.partition for place in places}

    def _leaving(self, _: Client, places: list[TopicPartition]) -> None:
        """Partitions are about to go to other members: they can still be committed."""
        leaving = self._assigned & {place.partition for place in places}
        if leaving:
            try:
                self._on_revoked(frozenset(leaving))
            finally:
                self._forget(leaving)

    def _lost(self, _: Client, places: list[TopicPartition]) -> None:
        """Others may have them by now: nothing of them may be committed any more."""
        lost = self._assigned & {place.partition for place in places}
        self._forget(lost)
        if lost:
            logger.warning("%s lost the partitions %s to others", self._group, sorted(lost))
            self._on_revoked(frozenset(lost))

    def _forget(self, partitions: frozenset[int] | set[int]) -> None:
        self._assigned -= partitions
        self._paused -= partitions
        for number in partitions:
            self._expected.pop(number, None)
            self._buffer.drop(number)

    def _throttle(self, client: Client) -> None:
        """Stop fetching while nothing is taken, so that polling goes on with nothing to read."""
        if self._buffer.count >= FULL:
            if fetching := self._assigned - self._paused:
                client.pause([TopicPartition(self._name, number) for number in fetching])
                self._paused |= fetching
        elif self._paused and not self._buffer.ahead:
            client.resume([TopicPartition(self._name, number) for number in self._paused])
            self._paused.clear()

    def _read_ahead(self, client: Client) -> None:
        """Take over what librdkafka has, or just let it do its work."""
        self._take_in(client.consume(1 if self._buffer.ahead else CHUNK, 0))

    def _take_in(self, messages: list[Message]) -> None:
        """Keep all records, then raise LogUnavailable for the first error among them, if any."""
        errors = []
        for message in messages:
            if error := message.error():
                errors.append(error)
                continue
            record = to_record(self._topic, message)
            if record.partition not in self._assigned:
                continue
            if record.offset >= self._expected.get(record.partition, 0):
                self._expected[record.partition] = record.offset + 1
                self._buffer.add(record)
        for error in errors:
            # Another courier has the same BRIDGE_KAFKA_INSTANCE, for instance: the process starts
            # anew, because this client never works again.
            if error.code() == KafkaError._FATAL:
                raise KafkaException(error)
            if error.code() != KafkaError._MAX_POLL_EXCEEDED:  # what it costs is told by `_lost`
                raise self._cluster.unavailable(error, "be read")
