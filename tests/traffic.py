"""Made-up traffic whose every call can be found again at the partner."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

PAGES = {"TRACK_NAMED_PAGES": "true"}
PRODUCT = {"product_id": "p1", "name": "Shoes", "price": 10}


def call(person: int, number: int) -> dict[str, Any]:
    """The `number`th call of a person; the kinds take turns."""
    common = {
        "userId": f"user-{person}",
        "messageId": f"message-{person}-{number}",
        "timestamp": "2026-03-01T09:30:00.000Z",
    }
    kinds: Sequence[dict[str, Any]] = (
        {"type": "identify", "traits": {"number": number}},
        {"type": "track", "event": "Thing Done", "properties": {"number": number}},
        {"type": "page", "name": "cart", "properties": {"number": number}},
        {
            "type": "track",
            "event": "Product Added",
            "properties": {"products": [{**PRODUCT, "number": number}]},
        },
        {
            "type": "track",
            "event": "Order Completed",
            "properties": {
                "number": number,
                "order_id": f"order-{person}-{number}",
                "total": 10,
                "products": [PRODUCT],
            },
        },
    )
    return {**common, **kinds[number % len(kinds)]}


def calls(persons: int, each: int) -> list[dict[str, Any]]:
    """`each` calls of every person, mixed as a busy site sends them."""
    return [call(person, number) for number in range(each) for person in range(persons)]


PATHS = (
    "/api/users/update",
    "/api/events/track",
    "/api/events/track",
    "/api/commerce/updateCart",
    "/api/commerce/trackPurchase",
)


def webhook(person: int, number: int) -> dict[str, Any]:
    """The `number`th webhook of a person."""
    return {
        "eventName": "pushOpen",
        "userId": f"user-{person}",
        "dataFields": {"number": number, "createdAt": "2026-03-01 09:30:00 +00:00"},
    }


def arrived(entry: Mapping[str, Any]) -> tuple[str, int, str, str | None]:
    """Person, number, path and id of a request that the stand-in Iterable took."""
    body: dict[str, Any] = entry["body"]
    user = body.get("user", body)
    fields = body["items"][0]["dataFields"] if "cart" in entry["path"].lower() else None
    number = (body["dataFields"] if fields is None else fields)["number"]
    return user["userId"], number, entry["path"], body.get("id")


def check_arrivals(entries: Iterable[Mapping[str, Any]], sent: Sequence[Mapping[str, Any]]) -> int:
    """Assert that all that was sent arrived, in each person's order, repeats with the same id.

    Returns how many requests were repeats.
    """
    order: dict[str, list[int]] = defaultdict(list)
    ids: dict[tuple[str, int], set[tuple[str, str | None]]] = defaultdict(set)
    repeats = 0
    for entry in entries:
        if entry["status"] != 200:
            continue
        person, number, path, event_id = arrived(entry)
        if (person, number) in ids:
            repeats += 1
        else:
            order[person].append(number)
        ids[person, number].add((path, event_id))
    expected = {(one["userId"], int(one["messageId"].rsplit("-", 1)[1])) for one in sent}
    assert expected - ids.keys() == set(), "lost"
    assert ids.keys() - expected == set(), "never sent"
    for (person, number), seen in ids.items():
        assert len(seen) == 1, f"{person} {number} came with several ids: {seen}"
        assert next(iter(seen))[0] == PATHS[number % len(PATHS)]
    for person, numbers in order.items():
        assert all(a < b for a, b in pairwise(numbers)), f"{person} out of order: {numbers}"
    return repeats
