"""librdkafka's mock cluster: brokers on 127.0.0.1 that speak Kafka's protocol, without any Java.

The cluster comes with every installation of confluent-kafka, but only C has the functions for it
(librdkafka, rdkafka_mock.h), so they are called through ctypes.
"""

import atexit
import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import confluent_kafka

PRODUCER = 0  # rd_kafka_type_t
REBALANCE_DELAY = 300  # ms; three seconds, the default, would be most of the tests' time


def _library() -> ctypes.CDLL:
    """The very library that confluent_kafka has loaded."""
    folder = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
    library = ctypes.CDLL(str(next(folder.glob("librdkafka-*.so*"))))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library


class MockCluster:
    """A cluster of `brokers` brokers; `servers` is its bootstrap address."""

    def __init__(self, brokers: int = 1) -> None:
        self._library = _library()
        reason = ctypes.create_string_buffer(512)
        conf = ctypes.c_void_p(self._library.rd_kafka_conf_new())
        self._library.rd_kafka_conf_set(conf, b"log_level", b"0", reason, len(reason))
        handle = self._library.rd_kafka_new(PRODUCER, conf, reason, len(reason))
        assert handle, reason.value.decode()
        self._handle = ctypes.c_void_p(handle)
        self._cluster = ctypes.c_void_p(
            self._library.rd_kafka_mock_cluster_new(self._handle, brokers)
        )
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, REBALANCE_DELAY)
        self._library.rd_kafka_mock_set_controller_id(self._cluster, 1)
        self.servers: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def create(self, topics: Mapping[str, int]) -> None:
        """Create topics with so many partitions: the mock knows no request for that."""
        for name, partitions in topics.items():
            failed = self._library.rd_kafka_mock_topic_create(
                self._cluster, name.encode(), partitions, 1
            )
            assert not failed, f"{name}: error {failed}"

    def stop(self, broker: int = 1) -> None:
        """Close a broker's connections and take no new ones."""
        self._library.rd_kafka_mock_broker_set_down(self._cluster, broker)

    def start(self, broker: int = 1) -> None:
        """Let it take connections again."""
        self._library.rd_kafka_mock_broker_set_up(self._cluster, broker)

    def lead(self, topic: str, partition: int, broker: int) -> None:
        """Let a broker lead a partition; -1 for nobody."""
        self._library.rd_kafka_mock_partition_set_leader(
            self._cluster, topic.encode(), partition, broker
        )

    def fail(self, request: int, *errors: int) -> None:
        """Answer the next requests of a kind (its key in Kafka's protocol) with these errors."""
        self._library.rd_kafka_mock_push_request_errors(
            self._cluster, ctypes.c_int16(request), len(errors), *map(ctypes.c_int, errors)
        )

    def close(self) -> None:
        """End it."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)


@contextmanager
def mock_cluster(brokers: int = 1) -> Iterator[MockCluster]:
    """A cluster, ended on leaving."""
    cluster = MockCluster(brokers)
    try:
        yield cluster
    finally:
        cluster.close()


@cache
def shared_mock() -> MockCluster:
    """One for the whole test run: topics of different prefixes do not meet."""
    cluster = MockCluster()
    atexit.register(cluster.close)
    return cluster
