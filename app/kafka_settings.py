"""The settings of the log on Apache Kafka: how its topics are made, and librdkafka's own ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import ValidationError
from marshmallow import fields as types

# What the guarantees rest on, and what other settings say already (librdkafka, CONFIGURATION.md).
OURS = frozenset(
    {
        "acks",
        "request.required.acks",
        "enable.idempotence",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.partition.eof",
        "auto.offset.reset",
        "partition.assignment.strategy",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "bootstrap.servers",
        "metadata.broker.list",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "transactional.id",
    }
)
# In the environment under these names, and never in the file.
SECRETS = {
    "BRIDGE_KAFKA_SASL_PASSWORD": "sasl.password",
    "BRIDGE_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET": "sasl.oauthbearer.client.secret",
    "BRIDGE_KAFKA_SSL_KEY_PASSWORD": "ssl.key.password",
}
# Secrets that have no name in the environment: a file with the right permissions does it better.
INSTEAD = {"ssl.key.pem": "ssl.key.location", "ssl.keystore.password": "ssl.key.location"}


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """`partitions` and `replication` are those of topics still to be created.

    `instance` makes a courier a static member of its groups. `client` are librdkafka's own settings
    (CONFIGURATION.md there) with secrets among them, so they are not shown.
    """

    partitions: int = 12
    replication: int = 3
    instance: str | None = None
    client: Mapping[str, str | int | float | bool] = field(default_factory=dict, repr=False)


class KafkaTable(types.Field[dict[str, str | int | float | bool]]):
    """The table `[kafka]` of config/bridge.toml: `"security.protocol" = "SASL_SSL"` …"""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> dict[str, str | int | float | bool]:
        if not isinstance(value, Mapping):
            raise ValidationError('must be a table with lines like "security.protocol" = "SSL"')
        problems = {name: [problem] for name in value if (problem := _problem(name, value[name]))}
        if problems:
            raise ValidationError(problems)
        return dict(value)


def _problem(name: str, value: Any) -> str | None:
    named = {prop: variable for variable, prop in SECRETS.items()}
    if name in named:
        return f"a secret; move it to the environment or .env, as {named[name]}"
    if name in INSTEAD:
        return f"a secret; keep it in a file of its own and name that in {INSTEAD[name]}"
    if name in OURS:
        return "is set by the bridge, whose guarantees rest on it; take the line away"
    if not isinstance(value, str | int | float | bool):
        return 'must be a text, a number, true or false; write the name in quotes ("sasl.username")'
    return None
