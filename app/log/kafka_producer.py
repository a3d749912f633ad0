"""The producer of a process: stores records on all replicas and tells where they are."""

import threading
from collections.abc import Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from app.log.base import NewRecord
from app.log.kafka_client import TIMEOUT, Cluster, PerProcess, encode_headers, logger

# Seconds that an append waits for its delivery reports. librdkafka gives up before (TIMEOUT) and
# says why; this is for the case that it says nothing.
REPORTS = TIMEOUT + 1.0


class Reports:
    """The delivery reports of one append; all come in one thread."""

    def __init__(self, count: int) -> None:
        self.offsets = [-1] * count
        self.error: KafkaError | None = None
        self.complete = threading.Event()
        self._missing = count

    def take(self, index: int, error: KafkaError | None, message: Message) -> None:
        """The report for the record number `index`."""
        offset = message.offset()
        if error is not None:
            self.error = error
        elif offset is not None:
            self.offsets[index] = offset
        self._missing -= 1
        if not self._missing:
            self.complete.set()


class Sending:
    """A producer with the thread that takes its delivery reports."""

    def __init__(self, cluster: Cluster) -> None:
        self.broken = False
        config = cluster.producer(
            **{
                "acks": "all",
                "enable.idempotence": True,
                "message.timeout.ms": int(TIMEOUT * 1000),
            }
        )
        # No wait for company: what comes while a request is under way shares the next one.
        self.producer = Producer({"linger.ms": 0, "compression.type": "lz4", **config})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._reports, name="kafka-reports", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take the reports that still come, and end."""
        if not self.broken:
            self.producer.flush(TIMEOUT)
        self._stop.set()
        self._thread.join()

    def _reports(self) -> None:
        while not self._stop.is_set():
            try:
                self.producer.poll(0.1)
            except KafkaException as error:  # only for what is fatal: it will never send again
                logger.error("the producer ends and is replaced: %s", error)
                self.broken = True


class KafkaProducer:
    """Stores records; for any thread of any process."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._sending = PerProcess(lambda: Sending(cluster))

    def send(self, topic: str, records: Sequence[tuple[int, NewRecord]]) -> list[int]:
        """Store records in the given partitions of `topic`; return their offsets.

        An offset is -1 when a broker stored the record but its first answer was lost. Raises
        LogUnavailable: then some of the records may be stored all the same, now or soon, and come
        again with the sender's repeat, which their ids make harmless.
        """
        reports = Reports(len(records))
        try:
            producer = self._working().producer
            for index, (partition, record) in enumerate(records):
                producer.produce(
                    topic,
                    key=record.key.encode(),
                    value=record.value,
                    partition=partition,
                    headers=encode_headers(record),
                    on_delivery=partial(reports.take, index),
                )
        except (KafkaException, BufferError) as error:
            raise self._cluster.unavailable(error, "store anything") from error
        if not reports.complete.wait(REPORTS):
            raise self._cluster.unavailable(TimeoutError("no answer"), "store anything")
        if reports.error:
            raise self._cluster.unavailable(reports.error, "store anything")
        return reports.offsets

    def _working(self) -> Sending:
        if self._sending.get().broken:
            self.close()
        return self._sending.get()

    def close(self) -> None:
        """End it; the next use starts another."""
        if sending := self._sending.take():
            sending.close()
