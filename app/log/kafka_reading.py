"""Reading outside any group: ranges of a partition, its ends, and how far a group is."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from app.log.base import Commit, LogUnavailable, Progress, Record
from app.log.kafka_client import Cluster, Config, PerProcess, to_record

CHUNK = 500  # records that are read at once
SILENCE = 10.0  # seconds without a record, where one is due, after which reading is given up
PATIENCE = 10.0  # seconds: a broker that has just started needs some to find its way
OLDEST = 2.0  # seconds that `progress` spends on finding how old the oldest record is

# The admin client goes on believing what it once heard of a partition's leader.
MOVED = (
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
)
MOVES = 10  # tries to find who leads a partition, and
MOVE_AGAIN = 0.2  # seconds between them

RANGE: Config = {"fetch.message.max.bytes": 1024 * 1024, "queued.max.messages.kbytes": 4096}
# A few bytes bring the first batch of a partition, and its first record is all that is wanted.
FIRST: Config = {
    "fetch.message.max.bytes": 1024,
    "queued.min.messages": 1,
    "fetch.wait.max.ms": 100,
}


class Reader:
    """Reads by clients of its own, which join no group. `sleep` waits for some seconds."""

    def __init__(
        self,
        cluster: Cluster,
        admin: PerProcess[AdminClient],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster = cluster
        self._admin = admin
        self._sleep = sleep

    def ends(self, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        """The first offset and the next free one of each partition. Raises LogUnavailable."""
        places = [TopicPartition(self._cluster.name(topic), number) for number in partitions]
        first = self.offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        free = self.offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {number: (first[number], free[number]) for number in partitions}

    def offsets(self, places: Sequence[TopicPartition], spec: OffsetSpec) -> dict[int, int]:
        """The offset that `spec` names, by partition. Raises LogUnavailable."""
        tries = 0
        while True:
            try:
                return self._list_offsets(places, spec)
            except KafkaException as error:
                tries += 1
                if tries == MOVES or error.args[0].code() not in MOVED:
                    raise self._cluster.unavailable(error, "be read") from error
            self._sleep(MOVE_AGAIN)
            self._admin.take()  # the next one asks anew who leads

    def _list_offsets(self, places: Sequence[TopicPartition], spec: OffsetSpec) -> dict[int, int]:
        wanted = dict.fromkeys(places, spec)
        answers = self._admin.get().list_offsets(wanted, request_timeout=PATIENCE)
        return {place.partition: found.result().offset for place, found in answers.items()}

    def records(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Record]:
        """The records with start ≤ offset < stop, of which at least one is there."""
        with closing(self._client(RANGE)) as client:
            client.assign([TopicPartition(self._cluster.name(topic), partition, start)])
            heard = time.monotonic()
            while time.monotonic() - heard < SILENCE:
                for message in client.consume(CHUNK, 0) or client.consume(1, 1.0):
                    heard = time.monotonic()
                    if error := message.error():
                        if error.code() == KafkaError._PARTITION_EOF:
                            return
                        raise self._cluster.unavailable(error, "be read")
                    record = to_record(topic, message)
                    if record.offset < stop:
                        yield record
                        heard = time.monotonic()  # whoever reads may have taken long
                    if record.offset >= stop - 1:
                        return
        raise LogUnavailable(f"the log on Kafka at {self._cluster.servers} gives no records now")

    def progress(self, topic: str, group: str, partitions: Sequence[int]) -> list[Progress]:
        """See `Log.progress`: three requests, and one record of each partition that waits."""
        ends = self.ends(topic, partitions)
        with closing(self._client(FIRST, group)) as client:
            done = self._commits(client, topic, partitions)
            starts = {
                number: max(first, done[number].offset if number in done else first)
                for number, (first, _) in ends.items()
            }
            waiting = {number: start for number, start in starts.items() if start < ends[number][1]}
            oldest = self._appended_at(client, topic, waiting) if waiting else {}
        return [
            Progress(
                partition=number,
                committed=starts[number],
                end=ends[number][1],
                metadata=done[number].metadata if number in done else "",
                oldest_waiting=oldest.get(number),
            )
            for number in partitions
        ]

    def commits(self, topic: str, group: str, partitions: Sequence[int]) -> dict[int, Commit]:
        """What the group has committed, by partition, where it did. Raises LogUnavailable."""
        with closing(self._client(FIRST, group)) as client:
            return self._commits(client, topic, partitions)

    def _commits(self, client: Client, topic: str, partitions: Sequence[int]) -> dict[int, Commit]:
        # Not by the admin client: that does not wait for a coordinator which has just started, and
        # librdkafka 2.16 may even crash then.
        places = [TopicPartition(self._cluster.name(topic), number) for number in partitions]
        try:
            found = client.committed(places, timeout=PATIENCE)
        except KafkaException as error:
            raise self._cluster.unavailable(error, "be asked for the progress") from error
        return {
            place.partition: Commit(place.offset, place.metadata or "")
            for place in found
            if place.offset >= 0
        }

    def trim(
        self, topic: str, partitions: Sequence[int], groups: Sequence[str], older_than: float
    ) -> int:
        """Let the brokers delete what is old and finished by all groups; return how many records.

        Brokers that know no such request keep everything. Raises LogUnavailable.
        """
        name, ends = self._cluster.name(topic), self.ends(topic, partitions)
        commits = [self.commits(topic, group, partitions) for group in groups]
        places = [TopicPartition(name, number) for number in partitions]
        spec = OffsetSpec.for_timestamp(int(older_than * 1000))
        young = self.offsets(places, spec)
        stops = {
            number: min(
                young[number] if young[number] >= 0 else free,
                *(done[number].offset if number in done else first for done in commits),
                free,
            )
            for number, (first, free) in ends.items()
        }
        wanted = [
            TopicPartition(name, number, stop)
            for number, stop in stops.items()
            if stop > ends[number][0]
        ]
        if not self._delete(wanted):
            return 0
        return sum(place.offset - ends[place.partition][0] for place in wanted)

    def _delete(self, wanted: list[TopicPartition]) -> bool:
        """Delete what is before these places; False when there is nothing, or nobody can."""
        if not wanted:
            return False
        try:
            answers = self._admin.get().delete_records(wanted, request_timeout=PATIENCE)
            for answer in answers.values():
                answer.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError._UNSUPPORTED_FEATURE:
                return False
            raise self._cluster.unavailable(error, "delete what is delivered") from error
        return True

    def _appended_at(
        self, client: Client, topic: str, starts: Mapping[int, int]
    ) -> dict[int, float]:
        """When the records at these places were stored; those missing that cannot be had soon."""
        found: dict[int, float] = {}
        name = self._cluster.name(topic)
        client.assign([TopicPartition(name, *place) for place in starts.items()])
        end = time.monotonic() + OLDEST
        while len(found) < len(starts) and time.monotonic() < end:
            for message in client.consume(CHUNK, 0) or client.consume(1, 0.2):
                if message.error():
                    continue
                record = to_record(topic, message)
                found.setdefault(record.partition, record.appended_at)
        return found

    def _client(self, defaults: Config, group: str = "") -> Client:
        # A group has to be named, but only subscribing or committing would make this a member.
        config = {
            "group.id": group or f"{self._cluster.prefix}.reader",
            "enable.partition.eof": True,
            "log_level": 0,
        }
        try:
            return Client(self._cluster.consumer(defaults, **config))
        except KafkaException as error:
            raise self._cluster.unavailable(error, "be read") from error
