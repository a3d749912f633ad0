"""Every setting: where it comes from, what is allowed, and one typed, frozen object that holds
them."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from marshmallow import Schema, ValidationError, validates_schema
from marshmallow import fields as types
from marshmallow.validate import Length, OneOf, Range, Regexp

from app.kafka_settings import SECRETS as KAFKA_SECRETS
from app.kafka_settings import KafkaSettings, KafkaTable
from app.mapping_settings import (
    InboundMapping,
    InboundMappingSchema,
    OutboundMapping,
    OutboundMappingSchema,
)
from app.outbound.endpoints import LIMITS
from app.setting_types import Duration, Secrets

ROOT = Path(__file__).resolve().parent.parent

ITERABLE_HOSTS = {"us": "https://api.iterable.com", "eu": "https://api.eu.iterable.com"}


class SettingsError(Exception):
    """The settings cannot be used; the message lists every problem."""


class ProjectType(StrEnum):
    """How an Iterable project identifies people; `classic` sends both identifiers as given."""

    CLASSIC = "classic"
    EMAIL = "email"
    USERID = "userid"
    HYBRID = "hybrid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, checked. Field names are the settings' names in lower case; README has their
    meaning."""

    iterable_api_key: str | None = field(default=None, repr=False)
    iterable_mobile_api_key: str | None = field(default=None, repr=False)
    iterable_web_api_key: str | None = field(default=None, repr=False)
    iterable_data_center: str = "us"
    iterable_base_url: str = ITERABLE_HOSTS["us"]
    iterable_project_type: ProjectType = ProjectType.CLASSIC
    iterable_batching: bool = False
    iterable_batch_age: float = 1.0
    iterable_timeout: float = 10.0
    iterable_application_name: str | None = None
    iterable_webhook_token: tuple[str, ...] = field(default=(), repr=False)
    segment_write_key: str | None = field(default=None, repr=False)
    segment_host: str | None = None
    segment_shared_secret: tuple[str, ...] = field(default=(), repr=False)
    bridge_write_key: tuple[str, ...] = field(default=(), repr=False)
    track_all_pages: bool = False
    track_categorized_pages: bool = False
    track_named_pages: bool = False
    date_only_strings: str = "convert"
    send_nulls: bool = False
    inbound_properties: str = "iterable"
    inbound_identify: bool = False
    disable_device_on_uninstall: bool = False
    on_delete: str = "ignore"
    bridge_log: str = "sqlite:///var/bridge.db"
    bridge_kafka_partitions: int = 12
    bridge_kafka_replication: int = 3
    bridge_kafka_instance: str | None = None
    bridge_kafka_sasl_username: str | None = None
    bridge_kafka_sasl_password: str | None = field(default=None, repr=False)
    bridge_kafka_sasl_oauthbearer_client_secret: str | None = field(default=None, repr=False)
    bridge_kafka_ssl_key_password: str | None = field(default=None, repr=False)
    bridge_bind: str = "127.0.0.1:8000"
    bridge_web_workers: int = 2
    bridge_web_threads: int = 32
    bridge_admin_token: str | None = field(default=None, repr=False)
    bridge_allow_unauthenticated: bool = False
    bridge_max_body: int = 16 * 1024 * 1024
    bridge_retention: float = 7 * 86400.0
    bridge_delivery_threads: int = 32
    bridge_max_attempts: int = 20
    outbound: OutboundMapping = field(default_factory=OutboundMapping)
    inbound: InboundMapping = field(default_factory=InboundMapping)
    limits: Mapping[str, float] = field(default_factory=dict)
    kafka: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    @property
    def has_partner_credentials(self) -> bool:
        """Whether any key of Iterable or Segment is set; without any, `bridge run` starts the
        sandbox."""
        return any(getattr(self, name.lower()) for name in PARTNER_KEYS)

    @property
    def kafka_settings(self) -> KafkaSettings:
        """What a log on Kafka needs: the table `[kafka]` and what the environment adds to it."""
        named = {"BRIDGE_KAFKA_SASL_USERNAME": "sasl.username", **KAFKA_SECRETS}
        given = {known: getattr(self, name.lower()) for name, known in named.items()}
        return KafkaSettings(
            partitions=self.bridge_kafka_partitions,
            replication=self.bridge_kafka_replication,
            instance=self.bridge_kafka_instance,
            client={**self.kafka, **{known: value for known, value in given.items() if value}},
        )


SECRETS = frozenset(
    {
        "ITERABLE_API_KEY",
        "ITERABLE_MOBILE_API_KEY",
        "ITERABLE_WEB_API_KEY",
        "ITERABLE_WEBHOOK_TOKEN",
        "SEGMENT_WRITE_KEY",
        "SEGMENT_SHARED_SECRET",
        "BRIDGE_WRITE_KEY",
        "BRIDGE_ADMIN_TOKEN",
        *KAFKA_SECRETS,
    }
)
TABLES = frozenset({"outbound", "inbound", "limits", "kafka"})
NAMES = tuple(f.name.upper() for f in fields(Settings) if f.name not in TABLES)


_url = Regexp(r"^https?://[^/\s]+(/\S*)?$", error="must start with http:// or https://")


class SettingsSchema(Schema):
    """What each setting may be. Whatever is left out keeps the default of `Settings`."""

    ITERABLE_API_KEY = types.String()
    ITERABLE_MOBILE_API_KEY = types.String()
    ITERABLE_WEB_API_KEY = types.String()
    ITERABLE_DATA_CENTER = types.String(validate=OneOf(tuple(ITERABLE_HOSTS)))
    ITERABLE_BASE_URL = types.String(validate=_url)
    ITERABLE_PROJECT_TYPE = types.Enum(ProjectType, by_value=True)
    ITERABLE_BATCHING = types.Boolean()
    ITERABLE_BATCH_AGE = Duration()
    ITERABLE_TIMEOUT = Duration()
    ITERABLE_APPLICATION_NAME = types.String()
    ITERABLE_WEBHOOK_TOKEN = Secrets()
    SEGMENT_WRITE_KEY = types.String()
    SEGMENT_HOST = types.String(validate=_url)
    SEGMENT_SHARED_SECRET = Secrets()
    BRIDGE_WRITE_KEY = Secrets()
    TRACK_ALL_PAGES = types.Boolean()
    TRACK_CATEGORIZED_PAGES = types.Boolean()
    TRACK_NAMED_PAGES = types.Boolean()
    DATE_ONLY_STRINGS = types.String(validate=OneOf(("convert", "keep")))
    SEND_NULLS = types.Boolean()
    INBOUND_PROPERTIES = types.String(validate=OneOf(("iterable", "spec")))
    INBOUND_IDENTIFY = types.Boolean()
    DISABLE_DEVICE_ON_UNINSTALL = types.Boolean()
    ON_DELETE = types.String(validate=OneOf(("ignore", "delete", "forget")))
    BRIDGE_LOG = types.String(
        validate=Regexp(
            r"^(sqlite:///.+|kafka://[^/\s]+/[A-Za-z0-9._-]+)$",
            error="must be sqlite:///PATH or kafka://HOST:PORT[,HOST:PORT]/PREFIX",
        )
    )
    BRIDGE_KAFKA_PARTITIONS = types.Integer(validate=Range(1, 10_000))
    BRIDGE_KAFKA_REPLICATION = types.Integer(validate=Range(1, 100))
    BRIDGE_KAFKA_INSTANCE = types.String()
    BRIDGE_KAFKA_SASL_USERNAME = types.String()
    BRIDGE_KAFKA_SASL_PASSWORD = types.String()
    BRIDGE_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET = types.String()
    BRIDGE_KAFKA_SSL_KEY_PASSWORD = types.String()
    BRIDGE_BIND = types.String(
        validate=Regexp(r"^(.+:\d{1,5}|unix:.+)$", error="must be HOST:PORT, like 127.0.0.1:8000")
    )
    BRIDGE_WEB_WORKERS = types.Integer(validate=Range(1, 256))
    BRIDGE_WEB_THREADS = types.Integer(validate=Range(1, 1024))
    BRIDGE_ADMIN_TOKEN = types.String(
        validate=Length(min=8, error="must have at least 8 characters")
    )
    BRIDGE_ALLOW_UNAUTHENTICATED = types.Boolean()
    BRIDGE_MAX_BODY = types.Integer(validate=Range(min=1024))
    BRIDGE_RETENTION = Duration()
    BRIDGE_DELIVERY_THREADS = types.Integer(validate=Range(1, 1024))
    BRIDGE_MAX_ATTEMPTS = types.Integer(validate=Range(min=1))
    outbound = types.Nested(OutboundMappingSchema)
    inbound = types.Nested(InboundMappingSchema)
    limits = types.Dict(
        keys=types.String(validate=OneOf(tuple(LIMITS))),
        values=types.Float(validate=Range(min=0, min_inclusive=False)),
    )

    kafka = KafkaTable()

    @validates_schema(skip_on_field_errors=False)
    def doors_are_locked(self, data: Mapping[str, Any], **_: Any) -> None:
        """With a partner's key set, every receiving route needs its secret, unless it is waived."""
        if data.get("BRIDGE_ALLOW_UNAUTHENTICATED") or not any(map(data.get, PARTNER_KEYS)):
            return
        problems = {
            name: [
                f"is missing, so {route} would be open to anyone; set it, "
                "or BRIDGE_ALLOW_UNAUTHENTICATED=true"
            ]
            for name, route in DOORS.items()
            if not data.get(name)
        }
        if problems:
            raise ValidationError(problems)


PARTNER_KEYS = (
    "ITERABLE_API_KEY",
    "ITERABLE_MOBILE_API_KEY",
    "ITERABLE_WEB_API_KEY",
    "SEGMENT_WRITE_KEY",
)
DOORS = {
    "SEGMENT_SHARED_SECRET": "/segment",
    "BRIDGE_WRITE_KEY": "/v1/*",
    "ITERABLE_WEBHOOK_TOKEN": "/iterable",
}


def load_settings(
    environ: Mapping[str, str] | None = None, directory: Path | None = None
) -> Settings:
    """Read, merge and check all settings: environment, `.env`, `config/bridge.toml`, defaults.

    `environ` stands in for the process environment, `directory` for the working directory; the
    bridge's own folder serves where the working directory has no `config/bridge.toml`.
    Raises SettingsError with one message that lists every problem.
    """
    directory = directory or Path.cwd()
    problems: list[str] = []
    values: dict[str, Any] = _from_toml(directory, problems)
    values |= _from_env_file(directory / ".env", problems)
    values |= _known(os.environ if environ is None else environ)
    try:
        checked: dict[str, Any] = SettingsSchema().load(values)
    except ValidationError as error:
        problems += sorted(_flatten(error.messages))
    if problems:
        raise SettingsError("The settings cannot be used:\n  - " + "\n  - ".join(problems))
    checked.setdefault(
        "ITERABLE_BASE_URL", ITERABLE_HOSTS[checked.get("ITERABLE_DATA_CENTER", "us")]
    )
    checked["ITERABLE_BASE_URL"] = checked["ITERABLE_BASE_URL"].rstrip("/")
    return Settings(**{name.lower(): value for name, value in checked.items()})


def _known(source: Mapping[str, str | None]) -> dict[str, str]:
    """The bridge's settings in an environment; an empty value counts as not set."""
    return {name: value.strip() for name in NAMES if (value := source.get(name)) and value.strip()}


def _from_env_file(path: Path, problems: list[str]) -> dict[str, str]:
    try:
        return _known(dotenv_values(path))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: {error}")
        return {}


def _from_toml(directory: Path, problems: list[str]) -> dict[str, Any]:
    path = next(
        (p for p in (directory / "config/bridge.toml", ROOT / "config/bridge.toml") if p.is_file()),
        None,
    )
    if path is None:
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path}: {error}")
        return {}
    values: dict[str, Any] = {}
    for name, value in found.items():
        known = name.lower() if name.lower() in TABLES else name.upper()
        if known in SECRETS:
            problems.append(
                f"{known}: a secret; move it from {path.name} to the environment or .env"
            )
        elif known not in TABLES and known not in NAMES:
            problems.append(f"{name}: unknown setting in {path.name}")
        else:
            values[known] = value
    return values


def _flatten(messages: Any, path: str = "") -> Iterator[str]:
    """Turn marshmallow's nested messages into lines such as `ON_DELETE: must be one of …`."""
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            yield from _flatten(inner, f"{path}.{name}" if path else str(name))
    else:
        for message in messages:
            yield f"{path}: {message}"
