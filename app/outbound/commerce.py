"""Carts and orders: products become Iterable's commerce items, an order gets its total."""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from app.errors import BadInput
from app.outbound.dates import DateSpeller
from app.outbound.lookup import Names

Number = int | float

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")
_LARGEST_WHOLE = 2**53  # beyond it JSON numbers are no longer exact
_REQUIRED = {
    "id": "a product_id, id or sku is required",
    "name": "a name is required",
    "price": "a price is required, as a number",
    "quantity": "must be a whole number",
}
_PRODUCT = Names(
    "product_id",
    "id",
    "sku",
    "name",
    "price",
    "quantity",
    "description",
    "url",
    "imageUrl",
    "category",
    "categories",
)


def number(value: object) -> Number | None:
    """A JSON number, also from the strings that some shops send; None for everything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return None
    return _plain(Decimal(value.strip()))


def total(order: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> Number:
    """What an order cost, which Iterable requires.

    `total`, else `subtotal` + `tax` + `shipping` − `discount`, else `revenue`, else the sum of the
    items. Raises BadInput `no_total` when nothing of these is there.
    """
    stated = number(order.get("total"))
    if stated is None:
        stated = _summed_up(order)
    if stated is None:
        stated = number(order.get("revenue"))
    if stated is None and items:
        stated = _plain(sum((_exact(i["price"]) * i["quantity"] for i in items), Decimal()))
    if stated is None:
        raise BadInput(
            "no_total",
            "an order needs a total",
            {"properties.total": ["a number is required: total, subtotal, revenue or products"]},
        )
    return stated


def _summed_up(order: Mapping[str, Any]) -> Number | None:
    subtotal, tax, shipping, discount = (
        number(order.get(name)) for name in ("subtotal", "tax", "shipping", "discount")
    )
    if subtotal is None:
        return None
    return _plain(_exact(subtotal) + _exact(tax) + _exact(shipping) - _exact(discount))


def _exact(value: Number | None) -> Decimal:
    """In decimals, as prices are meant: 0.1 + 0.2 is 0.3 here."""
    return Decimal(repr(value or 0))


def _plain(value: Decimal) -> Number | None:
    """The JSON number; None for one too large to be any."""
    if abs(value) < _LARGEST_WHOLE and value == value // 1:
        return int(value)
    return float(value) if math.isfinite(float(value)) else None


class ItemMaker:
    """Turns products into commerce items (Iterable, API: CommerceItem)."""

    def __init__(self, dates: DateSpeller) -> None:
        self._dates = dates

    def items(self, products: Sequence[Any]) -> list[dict[str, Any]]:
        """One item for each product, in order.

        Raises BadInput `invalid_product` naming every missing or wrong field of every product.
        """
        errors: dict[str, list[str]] = {}
        items = []
        for index, product in enumerate(products):
            if isinstance(product, dict):
                item = self._item(product)
                items.append(item)
                if None in item.values():
                    errors |= {
                        f"products[{index}].{name}": [text]
                        for name, text in _REQUIRED.items()
                        if item[name] is None
                    }
            else:
                errors[f"products[{index}]"] = ["must be an object"]
        if errors:
            message = "every product needs an id, a name and a price"
            raise BadInput("invalid_product", message, errors)
        return items

    def _item(self, product: dict[str, Any]) -> dict[str, Any]:
        found = _PRODUCT.values(product)
        get = found.get
        product_id, sku = _text(get("product_id")), _text(get("sku"))
        item: dict[str, Any] = {
            "id": product_id or _text(get("id")) or sku,
            "name": _text(get("name")),
            "price": number(get("price")),
            "quantity": _quantity(get("quantity")),
            "categories": _categories(get("categories") or get("category")),
        }
        if sku:
            item["sku"] = sku
        for name in ("description", "url", "imageUrl"):
            if name in found and (text := _text(found[name])):
                item[name] = text
        known = _PRODUCT.keys(product)
        others = {key: value for key, value in product.items() if key not in known}
        if "image_url" in product:
            others["image_url"] = product["image_url"]
        if product_id and "id" in product:
            others["id"] = product["id"]
        item["dataFields"] = self._dates.mapping(others)
        return item


def _text(value: object) -> str | None:
    """A string with something in it, also from a number."""
    if isinstance(value, str):
        return value if value and not value.isspace() else None
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _quantity(value: object) -> int | None:
    """A whole number, 1 when there is none; None for what is no whole number."""
    amount = 1 if value is None else number(value)
    if amount is None or amount != amount // 1 or abs(amount) >= _LARGEST_WHOLE:
        return None
    return int(amount)


def _categories(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for each in values if (text := _text(each))]
