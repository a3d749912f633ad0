"""The tables `[outbound]` and `[inbound]` of config/bridge.toml: the mapping without code."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import Schema, post_load
from marshmallow import fields as types
from marshmallow.validate import Length, OneOf

from app.outbound.endpoints import LIFTABLE


@dataclass(frozen=True, slots=True)
class OutboundMapping:
    """The table `[outbound]` of config/bridge.toml. Event names match without regard to case."""

    cart_events: tuple[str, ...] = (
        "Product Added",
        "Product Removed",
        "Cart Updated",
        "Added Product",
        "Removed Product",
    )
    purchase_events: tuple[str, ...] = ("Order Completed", "Completed Order")
    rename_events: Mapping[str, str] = field(default_factory=dict)
    allow_events: tuple[str, ...] = ()
    deny_events: tuple[str, ...] = ()
    lift_properties: tuple[str, ...] = ()
    drop_traits: tuple[str, ...] = ()
    rename_traits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InboundMapping:
    """The table `[inbound]` of config/bridge.toml."""

    rename_events: Mapping[str, str] = field(default_factory=dict)
    deny_events: tuple[str, ...] = ()


def _names() -> types.Field[Any]:
    return types.List(types.String(validate=Length(min=1)))


class OutboundMappingSchema(Schema):
    """The table `[outbound]` of config/bridge.toml."""

    cart_events = _names()
    purchase_events = _names()
    rename_events = types.Dict(keys=types.String(), values=types.String(validate=Length(min=1)))
    allow_events = _names()
    deny_events = _names()
    lift_properties = types.List(types.String(validate=OneOf(LIFTABLE)))
    drop_traits = _names()
    rename_traits = types.Dict(keys=types.String(), values=types.String(validate=Length(min=1)))

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> OutboundMapping:
        return OutboundMapping(**_frozen(data))


class InboundMappingSchema(Schema):
    """The table `[inbound]` of config/bridge.toml."""

    rename_events = types.Dict(keys=types.String(), values=types.String(validate=Length(min=1)))
    deny_events = _names()

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> InboundMapping:
        return InboundMapping(**_frozen(data))


def _frozen(data: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}
