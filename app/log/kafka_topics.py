"""The topics on the brokers: made when they are missing, checked when they are there."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._topic import TopicDescription
from confluent_kafka.cimpl import NewTopic

from app.log.base import DEAD_LETTERS, ITERABLE_WEBHOOKS, RECEIPTS, SEGMENT_CALLS, LogUnavailable
from app.log.kafka_client import LARGEST_RECORD, TIMEOUT, Cluster, PerProcess, logger, verdict

# Where `check` proves that something can be stored.
PROBE = "probe"
# What a topic is made with. Calls and webhooks never expire by age or size, because a broker does
# not ask whether they were delivered: `KafkaLog.trim` removes what was. A dead letter ends with its
# tombstone.
CONFIGS: Mapping[str, Mapping[str, str]] = {
    SEGMENT_CALLS: {"retention.ms": "-1", "retention.bytes": "-1"},
    ITERABLE_WEBHOOKS: {"retention.ms": "-1", "retention.bytes": "-1"},
    DEAD_LETTERS: {"cleanup.policy": "compact"},
    RECEIPTS: {"retention.ms": str(86_400_000)},
    PROBE: {"retention.ms": str(3_600_000)},
}
SPREAD = (SEGMENT_CALLS, ITERABLE_WEBHOOKS)
# Seconds until new topics must have leaders.
CREATION = 10.0

MISSING = KafkaError.UNKNOWN_TOPIC_OR_PART
NOT_YET = (KafkaError.LEADER_NOT_AVAILABLE, MISSING)


class Topics:
    """Knows how many partitions each topic has. `sleep` waits for some seconds."""

    def __init__(
        self,
        cluster: Cluster,
        admin: PerProcess[AdminClient],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster = cluster
        self._admin = admin
        self._sleep = sleep
        self._partitions: dict[str, int] = {}

    def partitions(self, topic: str) -> int:
        """How many partitions `topic` has. The first call makes the topics that are missing.

        Raises LogUnavailable, and ValueError for an unknown topic.
        """
        if topic not in CONFIGS:
            raise ValueError(f"unknown topic {topic!r}; there are {sorted(CONFIGS)}")
        if not self._partitions:
            # Several threads may do this at once: to wait for each other would add up.
            found = self._described()
            if missing := CONFIGS.keys() - found.keys():
                found = self._create(missing)
            self._compare(found)
            self._partitions = {name: len(about.partitions) for name, about in found.items()}
        return self._partitions[topic]

    def check(self) -> None:
        """Raises LogUnavailable unless every partition can be written to."""
        for name, about in self._described().items():
            if homeless := _without_leader(about):
                raise LogUnavailable(
                    f"the partitions {homeless} of the topic {self._cluster.name(name)} on Kafka "
                    f"at {self._cluster.servers} have no leader; are enough brokers up?"
                )

    def _described(self) -> dict[str, TopicDescription]:
        """What the brokers say of the topics that there are."""
        names = {self._cluster.name(topic): topic for topic in CONFIGS}
        found = {}
        try:
            collection = TopicCollection(list(names))
            answers = self._admin.get().describe_topics(collection, request_timeout=TIMEOUT)
            for name, answer in answers.items():
                if (about := _unless(NOT_YET, answer, TIMEOUT)) is not None:
                    found[names[name]] = about
        except KafkaException as error:
            raise self._cluster.unavailable(error, "be reached") from error
        return found

    def _create(self, missing: set[str]) -> dict[str, TopicDescription]:
        try:
            wanted = [self._new(topic) for topic in sorted(missing)]
            admin = self._admin.get()
            for answer in admin.create_topics(wanted, request_timeout=CREATION).values():
                _unless((KafkaError.TOPIC_ALREADY_EXISTS,), answer, CREATION)
        except KafkaException as error:
            raise self._cluster.unavailable(
                error,
                f"create topics with BRIDGE_KAFKA_REPLICATION={self._cluster.settings.replication}"
                f" and BRIDGE_KAFKA_PARTITIONS={self._cluster.settings.partitions}",
            ) from error
        return self._settled()

    def _settled(self) -> dict[str, TopicDescription]:
        """Wait until the brokers that answer know all topics and their leaders."""
        for _ in range(int(CREATION / 0.1)):
            found = self._described()
            if found.keys() == CONFIGS.keys() and not any(map(_without_leader, found.values())):
                return found
            self._sleep(0.1)
        raise LogUnavailable(f"new topics on Kafka at {self._cluster.servers} have no leaders yet")

    def _new(self, topic: str) -> NewTopic:
        settings = self._cluster.settings
        config = {
            **CONFIGS[topic],
            "max.message.bytes": str(LARGEST_RECORD),
            # What is acknowledged is on two brokers at least, wherever there are two.
            "min.insync.replicas": str(min(2, settings.replication)),
        }
        partitions = settings.partitions if topic in SPREAD else 1
        return NewTopic(self._cluster.name(topic), partitions, settings.replication, config=config)

    def _compare(self, found: Mapping[str, TopicDescription]) -> None:
        """Tell where topics are otherwise than the settings say; as they are, they are used."""
        settings = self._cluster.settings
        for topic in SPREAD:
            partitions = found[topic].partitions
            replicas = min(len(partition.replicas) for partition in partitions)
            for setting, wanted, there in (
                ("BRIDGE_KAFKA_PARTITIONS", settings.partitions, len(partitions)),
                ("BRIDGE_KAFKA_REPLICATION", settings.replication, replicas),
            ):
                if wanted != there:
                    name = self._cluster.name(topic)
                    logger.info("%s has %d, whatever %s=%d says", name, there, setting, wanted)


def _without_leader(about: TopicDescription) -> list[int]:
    return [part.id for part in about.partitions if part.leader is None or part.leader.id < 0]


def _unless(
    codes: tuple[int, ...], answer: "Future[TopicDescription]", patience: float
) -> TopicDescription | None:
    """The answer's result, or None for an error with one of these codes."""
    try:
        return verdict(answer, patience)
    except KafkaException as error:
        if error.args[0].code() in codes:
            return None
        raise
