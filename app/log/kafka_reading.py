"""Reading outside any group: ranges of a partition, its ends, and how far a group is."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TypeVar

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from app.log.base import Commit, LogUnavailable, Progress, Record
from app.log.kafka_client import Cluster, Config, PerProcess, to_record, verdict

CHUNK = 500  # records that are read at once
SILENCE = 10.0  # seconds without a record, where one is due, after which reading is given up
PATIENCE = 10.0  # seconds: a broker that has just started needs some to find its way
OLDEST = 2.0  # seconds that `progress` spends on finding how old the oldest record is

# Partitions that move, or were just made, have leaders that do not know it yet.
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


P = TypeVar("P")
T = TypeVar("T")


class Reader:
    """Reads by clients of its own, which join no group. `sleep` waits for some seconds.

    Also what the admin client could be asked for: that one's requests to several brokers may never
    be answered, whatever their time limit, when one of them has just restarted (librdkafka 2.16).
    """

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
        with closing(self._client(FIRST)) as client:
            return self._ends(client, topic, partitions)

    def _ends(
        self, client: Client, topic: str, partitions: Sequence[int]
    ) -> dict[int, tuple[int, int]]:
        name = self._cluster.name(topic)
        return {
            number: self._asked(_watermarks, client, TopicPartition(name, number))
            for number in partitions
        }

    def _asked(self, question: Callable[[Client, P], T], client: Client, what: P) -> T:
        """What the leaders of the partitions answer. Raises LogUnavailable."""
        tries = 0
        while True:
            try:
                return question(client, what)
            except KafkaException as error:
                tries += 1
                if tries == MOVES or error.args[0].code() not in MOVED:
                    raise self._cluster.unavailable(error, "be read") from error
            self._sleep(MOVE_AGAIN)

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
        with closing(self._client(FIRST, group)) as client:
            ends = self._ends(client, topic, partitions)
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
        name = self._cluster.name(topic)
        with closing(self._client(FIRST)) as client:
            ends = self._ends(client, topic, partitions)
            young = self._since(client, topic, partitions, older_than)
        commits = [self.commits(topic, group, partitions) for group in groups]
        stops = {
            number: min(
                young.get(number, free),
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

    def _since(
        self, client: Client, topic: str, partitions: Sequence[int], moment: float
    ) -> dict[int, int]:
        """The first offset of each partition stored at `moment` or later, where there is one."""
        name, milliseconds = self._cluster.name(topic), int(moment * 1000)
        places = [TopicPartition(name, number, milliseconds) for number in partitions]
        found = self._asked(_offsets_for_times, client, places)
        return {place.partition: place.offset for place in found if place.offset >= 0}

    def _delete(self, wanted: list[TopicPartition]) -> bool:
        """Delete what is before these places; False when there is nothing, or nobody can."""
        if not wanted:
            return False
        try:
            answers = self._admin.get().delete_records(wanted, request_timeout=PATIENCE)
            for answer in answers.values():
                verdict(answer, PATIENCE)
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


def _watermarks(client: Client, place: TopicPartition) -> tuple[int, int]:
    ends = client.get_watermark_offsets(place, timeout=PATIENCE)
    if ends is None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
    return ends


def _offsets_for_times(client: Client, places: list[TopicPartition]) -> list[TopicPartition]:
    found = client.offsets_for_times(places, timeout=PATIENCE)
    if failed := next((place.error for place in found if place.error), None):
        raise KafkaException(failed)
    return found
