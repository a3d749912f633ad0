"""The log on Apache Kafka, for more than one machine: brokers bring replication and membership."""

from collections.abc import Iterator, Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from app.kafka_settings import KafkaSettings
from app.log.base import NewRecord, Progress, Record, Revoked
from app.log.kafka_client import Cluster, PerProcess
from app.log.kafka_consumer import KafkaConsumer
from app.log.kafka_producer import KafkaProducer
from app.log.kafka_reading import Reader
from app.log.kafka_topics import PROBE, Topics
from app.log.partitions import partition_for


class KafkaLog:
    """The log in the topics `prefix.*` of the brokers at `servers`; see `app.log.base.Log`."""

    def __init__(self, servers: str, prefix: str, settings: KafkaSettings | None = None) -> None:
        self._cluster = cluster = Cluster(servers, prefix, settings or KafkaSettings())
        self._admin = PerProcess(self._new_admin)
        self._topics = Topics(cluster, self._admin)
        self._producer = KafkaProducer(cluster)
        self._reader = Reader(cluster, self._admin)

    def append(self, topic: str, records: Sequence[NewRecord]) -> list[tuple[int, int]]:
        """See `Log.append`.

        When it raises LogUnavailable, some of the records may be stored all the same (Kafka stores
        partition by partition); they are then repeats of what the sender sends again. An offset of
        -1: stored, but the broker could not tell where.
        """
        if not records:
            return []
        count = self._topics.partitions(topic)
        placed = [(partition_for(record.key, count), record) for record in records]
        offsets = self._producer.send(self._cluster.name(topic), placed)
        return [(partition, offset) for (partition, _), offset in zip(placed, offsets, strict=True)]

    def consume(self, topic: str, group: str, on_revoked: Revoked) -> KafkaConsumer:
        """See `Log.consume`. Joins with the first poll."""
        return KafkaConsumer(
            self._cluster,
            topic,
            self._group(topic, group),
            on_revoked,
            lambda: self._topics.partitions(topic),
        )

    def read(
        self, topic: str, partition: int, start: int, stop: int | None = None
    ) -> Iterator[Record]:
        """See `Log.read`. Raises LogUnavailable, also on the way."""
        self._topics.partitions(topic)
        first, free = self._reader.ends(topic, [partition])[partition]
        start, stop = max(start, first), free if stop is None else min(stop, free)
        return self._reader.records(topic, partition, start, stop) if start < stop else iter(())

    def partitions(self, topic: str) -> int:
        """See `Log.partitions`. Raises LogUnavailable."""
        return self._topics.partitions(topic)

    def progress(self, topic: str, group: str) -> list[Progress]:
        """See `Log.progress`. Raises LogUnavailable."""
        numbers = range(self._topics.partitions(topic))
        return self._reader.progress(topic, self._group(topic, group), numbers)

    def check(self) -> None:
        """See `Log.check`: every partition has a leader, and a topic of its own takes a record."""
        self._topics.check()
        self._topics.partitions(PROBE)
        self._producer.send(self._cluster.name(PROBE), [(0, NewRecord("", b"", {}))])

    def trim(self, topic: str, groups: Sequence[str], older_than: float) -> int:
        """See `Log.trim`. The brokers forget at once what may go, and free the space by and by.

        This is why topics need no expiry of Kafka's, which would take undelivered records too.
        """
        numbers = range(self._topics.partitions(topic))
        names = [self._group(topic, group) for group in groups]
        return self._reader.trim(topic, numbers, names, older_than)

    def close(self) -> None:
        """See `Log.close`. A log that is used again afterwards connects again."""
        self._producer.close()
        self._admin.take()

    def _new_admin(self) -> AdminClient:
        try:
            return AdminClient(self._cluster.admin())
        except KafkaException as error:
            raise self._cluster.unavailable(error, "be reached") from error

    def _group(self, topic: str, group: str) -> str:
        """The name of a group on the brokers, which others may share."""
        return f"{self._cluster.name(topic)}.{group}"
