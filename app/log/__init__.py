"""Opens the log that a URL names; the engine behind it is imported only then."""

from app.kafka_settings import KafkaSettings
from app.log.base import Log

FORMS = "write it like sqlite:///PATH or kafka://HOST:PORT[,HOST:PORT]/PREFIX"


def open_log(url: str, kafka: KafkaSettings | None = None) -> Log:
    """Return the log at `url`, such as `sqlite:///var/bridge.db` (four slashes: an absolute path)
    or `kafka://broker-1:9092,broker-2:9092/bridge`; `kafka` are the settings for the latter.

    Nothing is opened or created before the first use. Raises ValueError when the URL is of no use,
    or when the package for Kafka is not installed.
    """
    scheme, _, place = url.partition("://")
    if scheme == "sqlite":
        if not place.startswith("/") or place == "/":
            raise ValueError(f"BRIDGE_LOG: {url!r} names no file; {FORMS}")
        from app.log.sqlite import SqliteLog

        return SqliteLog(place[1:])
    if scheme == "kafka":
        servers, _, prefix = place.partition("/")
        if not servers or not prefix:
            raise ValueError(f"BRIDGE_LOG: {url!r} names no broker or no prefix; {FORMS}")
        try:
            from app.log.kafka import KafkaLog
        except ModuleNotFoundError as error:
            if error.name != "confluent_kafka":
                raise
            raise ValueError(
                "BRIDGE_LOG: a log on Kafka needs the package confluent-kafka; "
                "install it with: pip install '.[kafka]'"
            ) from error
        return KafkaLog(servers, prefix, kafka)
    raise ValueError(f"BRIDGE_LOG: unknown kind of log {scheme!r}; {FORMS}")
