"""Segment's own SDKs, unchanged, pointed at the bridge: what they send arrives at Iterable."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from segment.analytics import Client

from tests.bridge_process import Bridge, wait_for
from tests.builders import WRITE_KEY
from tests.sandbox_process import Sandbox, running_sandbox
from tests.sdk_tools import browser_sending, run_node

PRODUCT = {
    "product_id": "p1",
    "name": "Shoes",
    "price": "10.50",
    "quantity": 2,
    "category": "Sport",
}
ITEM = {"id": "p1", "name": "Shoes", "price": 10.5, "quantity": 2, "categories": ["Sport"]}


PATHS = (
    "/api/users/update",
    "/api/commerce/updateCart",
    "/api/commerce/trackPurchase",
    "/api/events/track",
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as found:
        yield found


@pytest.fixture(scope="module")
def bridge(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    settings = {
        "ITERABLE_API_KEY": "key",
        "ITERABLE_BASE_URL": sandbox.iterable,
        "BRIDGE_WRITE_KEY": WRITE_KEY,
        "BRIDGE_ALLOW_UNAUTHENTICATED": "true",
        "TRACK_NAMED_PAGES": "true",
    }
    with Bridge(tmp_path_factory.mktemp("bridge"), settings) as running:
        running.start("serve")
        running.start("deliver")
        yield running


def calls(user: str) -> list[dict[str, Any]]:
    """What a shop sends about a person, in the order in which it happens."""
    products = {"products": [PRODUCT]}
    order = {"order_id": f"order-{user}", "revenue": 21, "tax": 0, "coupon": "ÄÖ", **products}
    return [
        {
            "type": "identify",
            "userId": user,
            "traits": {
                "email": f"{user}@example.com",
                "phone": "+14155550100",
                "born": "2001-02-03",
            },
        },
        {"type": "track", "userId": user, "event": "Song Played", "properties": {"n": 1, "t": "é"}},
        {"type": "track", "userId": user, "event": "Product Added", "properties": products},
        {"type": "track", "userId": user, "event": "Order Completed", "properties": order},
        {"type": "page", "userId": user, "name": "Cart", "properties": {"step": 2}},
        {"type": "screen", "userId": user, "name": "Start", "properties": {}},
        {"type": "group", "userId": user, "groupId": "g1", "traits": {"plan": "pro"}},
        *(
            {"type": "track", "userId": user, "event": "Tick", "properties": {"number": number}}
            for number in range(20)
        ),
    ]


def expected(user: str, ids: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Path and body of the requests that these calls cause, in their order."""
    who = {"userId": user}
    profile = {"phoneNumber": "+14155550100", "born": "2001-02-03 00:00:00 +00:00"}
    order = {"order_id": f"order-{user}", "revenue": 21, "tax": 0, "coupon": "ÄÖ"}
    song = {"eventName": "Song Played", "dataFields": {"n": 1, "t": "é"}}
    cart, start = {"step": 2, "name": "Cart"}, {"name": "Start"}
    return [
        ("users/update", {**who, "email": f"{user}@example.com", "dataFields": profile}),
        ("events/track", {**who, **song, "id": ids[1]}),
        ("commerce/updateCart", {"user": who, "items": [ITEM]}),
        (
            "commerce/trackPurchase",
            {"id": f"order-{user}", "user": who, "total": 21, "items": [ITEM], "dataFields": order},
        ),
        ("events/track", {**who, "eventName": "Cart page", "id": ids[4], "dataFields": cart}),
        ("events/track", {**who, "eventName": "Start screen", "id": ids[5], "dataFields": start}),
        *(
            (
                "events/track",
                {**who, "eventName": "Tick", "id": ids[7 + n], "dataFields": {"number": n}},
            )
            for n in range(20)
        ),
    ]


def holds(body: Any, wanted: Any) -> bool:
    """Whether `body` says all that `wanted` does; the SDKs add their own to it."""
    if isinstance(wanted, Mapping):
        return isinstance(body, Mapping) and all(
            name in body and holds(body[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return len(body) == len(wanted) and all(map(holds, body, wanted))
    return bool(body == wanted)


def arrived(sandbox: Sandbox, user: str) -> list[dict[str, Any]]:
    return [
        entry
        for entry in sandbox.received()
        if entry["method"] == "POST" and entry["body"].get("user", entry["body"])["userId"] == user
    ]


def check(sandbox: Sandbox, user: str, ids: Sequence[str], in_order: bool = True) -> None:
    """Assert that everything arrived once, as it should look, and in its order.

    Some SDKs send several batches side by side, and so give no order that could be kept.
    """
    wanted = expected(user, ids)
    assert len(set(ids)) == len(wanted) + 1, "every call has an id of its own"  # and the group
    wait_for(lambda: len(arrived(sandbox, user)) >= len(wanted), "everything is delivered", 20)
    found = arrived(sandbox, user)
    assert [entry["status"] for entry in found] == [200] * len(wanted)
    if not in_order:
        order = {wanted_id: place for place, wanted_id in enumerate(ids)}
        found.sort(key=lambda entry: order.get(entry["body"].get("id"), -1))
        found.sort(key=lambda entry: PATHS.index(entry["path"]))
        wanted.sort(key=lambda request: PATHS.index(f"/api/{request[0]}"))
    for entry, (path, body) in zip(found, wanted, strict=True):
        assert entry["path"] == f"/api/{path}"
        assert holds(entry["body"], body), (entry["body"], body)


@pytest.mark.parametrize("zipped", [False, True])
def test_analytics_python(bridge: Bridge, sandbox: Sandbox, zipped: bool) -> None:
    failures: list[object] = []
    client = Client(
        WRITE_KEY,
        host=bridge.url,
        gzip=zipped,
        upload_size=10,
        upload_interval=0.1,
        on_error=lambda *failure: failures.append(failure),
    )
    user = f"python-{zipped}"
    ids = []
    for call in calls(user):
        body = {name: value for name, value in call.items() if name not in ("type", "userId")}
        body = {{"groupId": "group_id"}.get(name, name): value for name, value in body.items()}
        accepted, message = getattr(client, call["type"])(user, **body)
        assert accepted
        ids.append(message["messageId"])
    client.flush()
    client.join()
    assert failures == []
    check(sandbox, user, ids)


def test_analytics_node(bridge: Bridge, sandbox: Sandbox, tmp_path: Path) -> None:
    ids = run_node(WRITE_KEY, bridge.url, calls("node"), tmp_path)
    check(sandbox, "node", ids, in_order=False)


STRATEGIES = {
    "single": {"strategy": "standard"},
    "batching": {"strategy": "batching", "config": {"size": 10, "timeout": 200}},
    "json": {
        "strategy": "batching",
        "config": {
            "size": 10,
            "timeout": 200,
            "headers": {"Content-Type": "application/json", "X-Of-The-Site": "1"},
        },
    },
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_analytics_js_in_a_browser(
    bridge: Bridge, sandbox: Sandbox, tmp_path: Path, strategy: str
) -> None:
    user = f"browser-{strategy}"
    order = {
        "writeKey": WRITE_KEY,
        "apiHost": f"{bridge.url.removeprefix('http://')}/v1",
        "deliveryStrategy": STRATEGIES[strategy],
        "calls": calls(user),
    }
    with browser_sending(order, tmp_path) as ids:
        check(sandbox, user, ids, in_order=strategy == "single")


def test_an_sdk_with_the_wrong_key_is_told(bridge: Bridge) -> None:
    failures: list[Any] = []
    client = Client("wrong", host=bridge.url, on_error=lambda error, _: failures.append(error))
    client.track("u1", "Song Played")
    client.flush()
    client.join()
    assert [error.status for error in failures] == [401]
