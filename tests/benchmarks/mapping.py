"""Calls a second that one core takes from the bytes received to the bytes to send.

identify, track and Order Completed are mixed, of the size and shape that SDKs send. Events
repeat their keys here as they do in life, so the look-up of keys is warm.
"""

from collections.abc import Callable, Iterable
from statistics import median
from time import perf_counter
from typing import Any

import orjson

from app.outbound.mapping import CallMapper
from app.outbound.schemas import check_call
from app.outcomes import Discarded
from app.settings import Settings

AIM = 40_000  # calls a second
ROUND = 600  # calls
RECEIVED_AT = 1_709_285_400.0
CONTEXT = {
    "ip": "198.51.100.7",
    "library": {"name": "analytics.js", "version": "next-1.84.0"},
    "locale": "en-US",
    "page": {
        "path": "/hats",
        "referrer": "https://search.example/",
        "search": "?q=hat",
        "title": "Hats",
        "url": "https://shop.example/hats?q=hat",
    },
    "timezone": "Europe/Berlin",
    "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
}


def _call(number: int) -> dict[str, Any]:
    common = {
        "messageId": f"0190a5c2-7d1f-7a3e-9a54-{number:012d}",
        "anonymousId": "507f191e-810c-19729-de860ea",
        "userId": f"user-{number}",
        "timestamp": "2024-03-01T09:30:00.500Z",
        "context": CONTEXT,
        "integrations": {},
    }
    kinds: list[dict[str, Any]] = [
        {
            "type": "identify",
            "traits": {
                "email": f"user-{number}@example.com",
                "firstName": "Ada",
                "lastName": "Lovelace",
                "phone": "+14155550100",
                "createdAt": "2023-12-24T10:00:00Z",
                "plan": "pro",
                "logins": number,
                "company": {"name": "ACME", "size": 12},
            },
        },
        {
            "type": "track",
            "event": "Article Read",
            "properties": {
                "title": "Hats of the year",
                "author": "Ada",
                "words": 1200,
                "published": "2024-02-28T08:00:00.000Z",
                "tags": ["hats", "news"],
            },
        },
        {
            "type": "track",
            "event": "Order Completed",
            "properties": {
                "order_id": f"order-{number}",
                "total": 57.5,
                "revenue": 50,
                "currency": "EUR",
                "products": [
                    {
                        "product_id": f"product-{n}",
                        "sku": f"S-{n}",
                        "name": "Hat",
                        "price": 25,
                        "quantity": n,
                        "category": "Hats",
                        "image_url": "https://shop.example/hat.png",
                    }
                    for n in (1, 2)
                ],
            },
        },
    ]
    return common | kinds[number % len(kinds)]


def _rates(work: Callable[[], object], seconds: float) -> list[float]:
    """Calls a second of each round of `work` in about `seconds`, slowest first."""
    rates, end = [], perf_counter() + seconds
    while perf_counter() < end:
        begun = perf_counter()
        work()
        rates.append(ROUND / (perf_counter() - begun))
    return sorted(rates)


def _drain(results: Iterable[object]) -> None:
    """Take the results one by one and keep none, as a server does."""
    for _ in results:
        pass


def _contents(mapper: CallMapper, call: dict[str, Any]) -> list[bytes]:
    outcome = mapper.map(call, RECEIVED_AT, "segment")
    return [] if isinstance(outcome, Discarded) else [request.content for request in outcome]


def run() -> None:
    """Measure for about three seconds and print calls a second, in total and by stage."""
    mapper = CallMapper(Settings())
    bodies = [orjson.dumps(_call(number)) for number in range(ROUND)]
    calls = [orjson.loads(body) for body in bodies]
    size = sum(map(len, bodies)) // ROUND

    def everything() -> None:
        _drain(_contents(mapper, check_call(orjson.loads(body))) for body in bodies)

    rates = _rates(everything, 1.2)
    total = median(rates)
    print(
        f"mapping, one core, {size} bytes a call: {total:,.0f} calls/s in the median round, "
        f"{rates[0]:,.0f} to {rates[-1]:,.0f} in all {len(rates)} (aim: {AIM:,})"
    )
    stages: dict[str, Callable[[], object]] = {
        "parse": lambda: _drain(map(orjson.loads, bodies)),
        "validate": lambda: _drain(map(check_call, calls)),
        "map": lambda: _drain(mapper.map(call, RECEIVED_AT, "segment") for call in calls),
        "serialise": lambda: _drain(_contents(mapper, call) for call in calls),
    }
    costs = {name: 1e6 / median(_rates(work, 0.45)) for name, work in stages.items()}
    costs["serialise"] -= costs["map"]  # that stage maps too
    for name, cost in costs.items():
        print(f"  {name:<10}{cost:7.2f} µs a call {cost / sum(costs.values()):7.0%}")


if __name__ == "__main__":
    run()
