"""The whole bridge on Kafka: kills, couriers that come and go, and brokers that are away."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.bridge_process import Bridge, wait_for
from tests.kafka_broker import Broker, Missing, running_broker, shared_broker
from tests.kafka_mock import mock_cluster
from tests.log_engines import MOCK_TOPICS
from tests.sandbox_process import Sandbox, running_sandbox
from tests.test_chaos import SENDERS, Sender, known_to, weather
from tests.traffic import PAGES, call, check_arrivals

LIMIT = 40  # requests a second at each endpoint: less than what is sent, so that it matters
ENDPOINTS = ("users/update", "events/track", "commerce/updateCart", "commerce/trackPurchase")


def on_broker(broker: Broker) -> dict[str, str]:
    return {
        "BRIDGE_LOG": f"kafka://{broker.servers}/bridge-{uuid4().hex[:8]}",
        "BRIDGE_KAFKA_REPLICATION": "1",
    }


def write_config(folder: Path, *lines: str) -> None:
    (folder / "config").mkdir()
    (folder / "config/bridge.toml").write_text("\n".join(lines))


# --- on librdkafka's mock cluster


def test_nothing_acknowledged_is_lost_through_kills_on_the_mock_cluster(tmp_path: Path) -> None:
    write_config(
        tmp_path, "[kafka]", '"session.timeout.ms" = 2000', '"heartbeat.interval.ms" = 200'
    )
    with mock_cluster() as cluster:
        cluster.create({f"bridge.{topic}": count for topic, count in MOCK_TOPICS.items()})
        weather(tmp_path, 4, 120, BRIDGE_LOG=f"kafka://{cluster.servers}/bridge")


# --- on a real broker


@pytest.mark.kafka
@pytest.mark.parametrize("instance", ["", "courier-1"], ids=["dynamic member", "static member"])
def test_nothing_acknowledged_is_lost_through_kills(tmp_path: Path, instance: str) -> None:
    weather(tmp_path, 6, 180, BRIDGE_KAFKA_INSTANCE=instance, **on_broker(shared_broker()))


class SteadySender(Sender):
    """Sends more than the limits let through, but leaves the machine some time for the rest: where
    the couriers do not get their turn, requests sent evenly arrive bunched."""

    def _send(self, session: requests.Session, path: str, body: Mapping[str, Any]) -> bool:
        time.sleep(0.02)
        return super()._send(session, path, body)


@contextmanager
def busy_bridge(
    folder: Path, log: dict[str, str]
) -> Iterator[tuple[Bridge, Sandbox, list[SteadySender]]]:
    """A web server under the load of some senders, and a partner with rate limits."""
    limits = [f'"{endpoint}" = {LIMIT}' for endpoint in ENDPOINTS]
    write_config(folder, "[limits]", *limits, "[kafka]", '"session.timeout.ms" = 6000')
    with ExitStack() as stack:
        sandbox = stack.enter_context(running_sandbox())
        sandbox.fail(limits={f"/api/{endpoint}": LIMIT for endpoint in ENDPOINTS})
        settings = {
            "ITERABLE_API_KEY": "key",
            "ITERABLE_BASE_URL": sandbox.iterable,
            "SEGMENT_WRITE_KEY": "key",
            "SEGMENT_HOST": sandbox.segment,
        }
        bridge = stack.enter_context(Bridge(folder, {**settings, **PAGES, **log}))
        bridge.start("serve")
        senders = [SteadySender(bridge, number) for number in range(SENDERS)]
        try:
            for sender in senders:
                sender.start()
            yield bridge, sandbox, senders
        finally:
            end(senders)


def end(senders: Sequence[Sender]) -> list[dict[str, Any]]:
    """Let them finish; return what was acknowledged."""
    for sender in senders:
        sender.stop.set()
    for sender in senders:
        sender.join()
    return [one for sender in senders for one in sender.acknowledged]


def delivered(bridge: Bridge, more: int) -> None:
    """Wait until so many more calls are delivered."""
    before = bridge.status()["outbound"]["delivered"]
    wait_for(lambda: bridge.status()["outbound"]["delivered"] >= before + more, f"{more} more")


@pytest.mark.kafka
def test_couriers_come_and_go_under_load(tmp_path: Path) -> None:
    with busy_bridge(tmp_path, on_broker(shared_broker())) as (bridge, sandbox, senders):
        for name in ("first", "second", "third"):
            bridge.start("deliver", name)
        delivered(bridge, 200)
        bridge.kill("second")
        delivered(bridge, 300)
        bridge.start("deliver", "fourth")
        delivered(bridge, 300)
        assert bridge.stop("first") == 0
        delivered(bridge, 200)
        sent = end(senders)
        wait_for(bridge.drained, "everything is delivered", 300)
        entries = sandbox.received()
        busiest = sandbox.shown(limit=1)["busiest"]
        dead = bridge.status()["outbound"]["dead"]
    repeats = check_arrivals(entries, known_to(sent, entries))
    assert dead == 0
    assert len(sent) > 1000
    for endpoint in ENDPOINTS:
        assert busiest[f"/api/{endpoint}"]["sliding_second"] <= LIMIT
    assert {entry["status"] for entry in entries} == {200}
    print(f"\n{len(sent)} calls, {repeats} repeats, {busiest}")  # noqa: T201 # for the curious


@pytest.mark.kafka
def test_senders_and_couriers_wait_for_a_broker_that_is_away(tmp_path: Path) -> None:
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(running_broker())
        except Missing as missing:
            pytest.skip(f"no Apache Kafka broker: {missing}")
        bridge, sandbox, senders = stack.enter_context(busy_bridge(tmp_path, on_broker(broker)))
        bridge.start("deliver")
        delivered(bridge, 50)
        broker.stop()
        away = time.monotonic()
        refused = bridge.post("/v1/track", call(1000, 1))
        assert refused.status_code == 503
        assert refused.elapsed.total_seconds() < 4.5
        assert int(refused.headers["Retry-After"]) > 0
        assert bridge.post("/v1/track", call(1000, 1)).status_code == 503
        time.sleep(max(0.0, away + 30 - time.monotonic()))
        broker.start()
        delivered(bridge, 200)
        sent = end(senders)
        wait_for(bridge.drained, "everything is delivered", 180)
        entries = [one for one in sandbox.received() if "user-1000" not in str(one["body"])]
        status = bridge.status()
    check_arrivals(entries, known_to(sent, entries))
    assert status["outbound"]["dead"] == 0
