"""track, page and screen → Iterable: events, carts and purchases."""

from collections.abc import Callable, Mapping
from typing import Any

from app.outbound.commerce import ItemMaker, total
from app.outbound.dates import DateSpeller, happened_at, read, unix_seconds
from app.outbound.identity import Identity, identifiers, iterable_id, message_id, text_or_none
from app.outbound.lookup import Names
from app.outbound.request import IterableRequest, post
from app.outbound.switches import member
from app.outcomes import Discarded
from app.settings import Settings

Requests = tuple[IterableRequest, ...]

_PRODUCTS = Names("products")
_CAMPAIGN = ("campaignId", "templateId")
_ORDER = Names(
    "order_id",
    "total",
    "subtotal",
    "tax",
    "shipping",
    "discount",
    "revenue",
    "products",
    *_CAMPAIGN,
)


def _id_number(value: object) -> int | None:
    """campaignId and templateId are int32 at Iterable; other values would have the whole request
    refused."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
        return value
    return None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _time(value: object) -> int | None:
    moment = read(value)
    return None if moment is None else unix_seconds(moment)


def _id(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = text_or_none(value)
    return None if text is None else iterable_id(text)


# How a property's value becomes one of `endpoints.LIFTABLE`; None when it cannot.
_LIFTABLE: Mapping[str, Callable[[object], Any]] = {
    "campaignId": _id_number,
    "templateId": _id_number,
    "createNewFields": _flag,
    "createdAt": _time,
    "id": _id,
}


class EventMapper:
    """Maps calls that say what somebody did."""

    def __init__(self, settings: Settings, identity: Identity, dates: DateSpeller) -> None:
        table = settings.outbound
        self._settings = settings
        self._identity = identity
        self._dates = dates
        self._items = ItemMaker(dates)
        self._renamed = {old.lower(): new for old, new in table.rename_events.items()}
        self._allowed = frozenset(name.lower() for name in table.allow_events)
        self._denied = frozenset(name.lower() for name in table.deny_events)
        self._cart = frozenset(name.lower() for name in table.cart_events)
        self._purchase = frozenset(name.lower() for name in table.purchase_events)
        self._lifted = Names(*_CAMPAIGN, *table.lift_properties)

    def track(self, call: Mapping[str, Any], received_at: float) -> Requests | Discarded:
        """A purchase, a cart, or a plain event, by the event's name.

        Raises BadInput `no_identity`, `invalid_product`, `no_total` and `nested_too_deep`.
        """
        event: str = call["event"]
        name = event.lower()
        if refusal := self._refusal(name):
            return refusal
        properties = member(call, "properties")
        if name in self._purchase:
            return self._track_purchase(call, properties, received_at)
        if name in self._cart:
            products = _PRODUCTS.values(properties).get("products")
            # Without the array it stays a plain event: the one product of a Product Added must
            # never replace the whole cart.
            if isinstance(products, list):
                return self._update_cart(call, products)
        return self._track_event(call, event, properties, received_at)

    def view(self, call: Mapping[str, Any], received_at: float) -> Requests | Discarded:
        """A page or screen: one event, if the settings want it.

        Raises BadInput `no_identity` and `nested_too_deep`.
        """
        kind: str = call["type"]
        name, category = text_or_none(call.get("name")), text_or_none(call.get("category"))
        settings = self._settings
        if not (
            settings.track_all_pages
            or (category and settings.track_categorized_pages)
            or (name and settings.track_named_pages)
        ):
            return Discarded("page_tracking_off")
        shown = name or category
        event = f"{shown} {kind}" if shown else f"Loaded a {kind.title()}"
        if refusal := self._refusal(event.lower()):
            return refusal
        properties = dict(member(call, "properties"))
        properties |= {k: v for k, v in (("name", name), ("category", category)) if v}
        return self._track_event(call, event, properties, received_at)

    def _refusal(self, name: str) -> Discarded | None:
        if name in self._denied:
            return Discarded("event_denied")
        if self._allowed and name not in self._allowed:
            return Discarded("event_not_allowed")
        return None

    def _track_event(
        self, call: Mapping[str, Any], event: str, properties: Mapping[str, Any], received_at: float
    ) -> Requests:
        body = self._identity.keys(identifiers(call))
        body["eventName"] = self._renamed.get(event.lower(), event)
        body["createdAt"] = unix_seconds(happened_at(call, received_at))
        body["id"] = iterable_id(message_id(call))
        body["dataFields"] = self._dates.mapping(properties)
        for name, value in self._lifted.values(properties).items():
            if (lifted := _LIFTABLE[name](value)) is not None:
                body[name] = lifted
        return (post("events/track", body),)

    def _update_cart(self, call: Mapping[str, Any], products: list[Any]) -> Requests:
        user = self._identity.user(identifiers(call))
        body = {"user": user, "items": self._items.items(products)}
        return (post("commerce/updateCart", body),)

    def _track_purchase(
        self, call: Mapping[str, Any], properties: Mapping[str, Any], received_at: float
    ) -> Requests:
        user = self._identity.user(identifiers(call))
        order = _ORDER.values(properties)
        products = order.get("products")
        items = self._items.items(products) if isinstance(products, list) else []
        body = {
            "id": _id(order.get("order_id")) or iterable_id(message_id(call)),
            "user": user,
            "items": items,
            "total": total(order, items),
            "createdAt": unix_seconds(happened_at(call, received_at)),
        }
        taken = {"total", "products"}
        for name in _CAMPAIGN:
            if (value := _id_number(order.get(name))) is not None:
                body[name] = value
                taken.add(name)
        known = _ORDER.keys(properties)
        others = {key: value for key, value in properties.items() if known.get(key) not in taken}
        body["dataFields"] = self._dates.mapping(others)
        return (post("commerce/trackPurchase", body),)
