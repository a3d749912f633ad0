"""The JSON types of Iterable's request bodies (Iterable, API reference).

Only types are checked here. Names that Iterable does not know are let pass, as it does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Value:
    """One JSON type and the complaint about any other."""

    complaint: str
    fits: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class ArrayOf:
    """An array whose elements are all alike."""

    element: "Kind"


@dataclass(frozen=True, slots=True)
class Shape:
    """An object with known fields."""

    fields: Mapping[str, "Kind"]
    required: frozenset[str] = frozenset()


Kind = Value | ArrayOf | Shape


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and float(value).is_integer() and -(2**63) <= value < 2**63


def _is_int32(value: Any) -> bool:
    return _is_whole(value) and -(2**31) <= value < 2**31


STRING = Value("String value expected", lambda value: isinstance(value, str))
BOOLEAN = Value("Boolean value expected", lambda value: isinstance(value, bool))
NUMBER = Value("Number value expected", _is_number)
LONG = Value("Number value expected", _is_whole)
INTEGER = Value("Number value expected", _is_int32)
OBJECT = Value("error.expected.jsobject", lambda value: isinstance(value, dict))
ARRAY_COMPLAINT = "error.expected.jsarray"
MISSING = "error.path.missing"

_IDENTITY: dict[str, Kind] = {"email": STRING, "userId": STRING}
USER = Shape(
    {
        **_IDENTITY,
        "dataFields": OBJECT,
        "preferUserId": BOOLEAN,
        "mergeNestedObjects": BOOLEAN,
        "createNewFields": BOOLEAN,
    }
)
EVENT = Shape(
    {
        **_IDENTITY,
        "eventName": STRING,
        "id": STRING,
        "createdAt": LONG,
        "dataFields": OBJECT,
        "campaignId": INTEGER,
        "templateId": INTEGER,
        "createNewFields": BOOLEAN,
    },
    frozenset({"eventName"}),
)
ITEM = Shape(
    {
        "id": STRING,
        "name": STRING,
        "price": NUMBER,
        "quantity": INTEGER,
        "sku": STRING,
        "description": STRING,
        "url": STRING,
        "imageUrl": STRING,
        "categories": ArrayOf(STRING),
        "dataFields": OBJECT,
    },
    frozenset({"id", "name", "price", "quantity"}),
)
CART = Shape({"user": USER, "items": ArrayOf(ITEM)}, frozenset({"user", "items"}))
PURCHASE = Shape(
    {
        "user": USER,
        "items": ArrayOf(ITEM),
        "total": NUMBER,
        "id": STRING,
        "createdAt": LONG,
        "dataFields": OBJECT,
        "campaignId": INTEGER,
        "templateId": INTEGER,
    },
    frozenset({"user", "items", "total"}),
)
DEVICE = Shape(
    {"token": STRING, "platform": STRING, "applicationName": STRING, "dataFields": OBJECT},
    frozenset({"token", "platform", "applicationName"}),
)

BODIES: dict[str, Shape] = {
    "/api/users/update": USER,
    "/api/users/bulkUpdate": Shape(
        {"users": ArrayOf(USER), "createNewFields": BOOLEAN}, frozenset({"users"})
    ),
    "/api/users/updateEmail": Shape(
        {"newEmail": STRING, "currentEmail": STRING, "currentUserId": STRING},
        frozenset({"newEmail"}),
    ),
    "/api/users/registerDeviceToken": Shape(
        {**_IDENTITY, "device": DEVICE, "preferUserId": BOOLEAN}, frozenset({"device"})
    ),
    "/api/users/disableDevice": Shape({**_IDENTITY, "token": STRING}, frozenset({"token"})),
    "/api/users/registerBrowserToken": Shape(
        {**_IDENTITY, "browserToken": STRING}, frozenset({"browserToken"})
    ),
    "/api/users/forget": Shape(_IDENTITY),
    "/api/events/track": EVENT,
    "/api/events/trackBulk": Shape({"events": ArrayOf(EVENT)}, frozenset({"events"})),
    "/api/commerce/updateCart": CART,
    "/api/commerce/trackPurchase": PURCHASE,
}


def complaints(body: Any, shape: Shape) -> dict[str, str]:
    """What is wrong with a body: complaints by path, such as `obj.users[1].preferUserId`."""
    found: dict[str, str] = {}
    _check(body, shape, "obj", found)
    return found


def _check(value: Any, kind: Kind, path: str, found: dict[str, str]) -> None:
    match kind:
        case Value():
            if not kind.fits(value):
                found[path] = kind.complaint
        case ArrayOf():
            if not isinstance(value, list):
                found[path] = ARRAY_COMPLAINT
                return
            for place, element in enumerate(value):
                _check(element, kind.element, f"{path}[{place}]", found)
        case Shape():
            if not isinstance(value, dict):
                found[path] = OBJECT.complaint
                return
            _check_fields(value, kind, path, found)


def _check_fields(value: dict[str, Any], shape: Shape, path: str, found: dict[str, str]) -> None:
    for name, kind in shape.fields.items():
        field = value.get(name)
        if field is not None:
            _check(field, kind, f"{path}.{name}", found)
        elif name in shape.required:
            found[f"{path}.{name}"] = MISSING
