"""Iterable → Segment: how fast a webhook becomes a message, and a message is delivered.

Delivery is measured beside a bare loop of analytics-python's own `track()` and `flush()`, in turns,
against the same stand-in server in a process of its own, with the same upload size.
"""

import multiprocessing
import socketserver
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import orjson
from segment.analytics import Client

from app.inbound.message import SegmentMessage
from app.inbound.segment import SegmentDestination
from app.log.base import ITERABLE_WEBHOOKS, Record
from app.outcomes import Dead, Delivered, Discarded, Step
from app.settings import Settings

WEBHOOK: dict[str, Any] = {
    "email": "ada@example.com",
    "userId": "u-17",
    "eventName": "emailClick",
    "dataFields": {
        "email": "ada@example.com",
        "createdAt": "2024-03-05 14:07:31 +00:00",
        "campaignId": 81234,
        "campaignName": "Spring sale",
        "templateId": 93001,
        "templateName": "Spring sale v2",
        "channelId": 3420,
        "messageTypeId": 3866,
        "workflowId": None,
        "labels": [],
        "messageId": "4f1c2d9ab7e84c55a0d3f6e1b2c3d4e5",
        "emailId": "c81234:t93001:ada@example.com",
        "emailSubject": "Spring is here",
        "linkUrl": "https://shop.example/spring",
        "linkId": "3145668988",
        "ip": "203.0.113.24",
        "userAgent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_3) AppleWebKit/605.1.15",
        "city": "Lyon",
        "region": "ARA",
        "country": "France",
    },
}
UPLOAD_SIZE = 100
THREADS = 4
ROUNDS, PER_ROUND = 8, 2_000  # the best round counts: other work on the machine only slows


class Answer(socketserver.StreamRequestHandler):
    """Reads a request to its end and answers 200, as little work as HTTP allows."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        while line := self.rfile.readline():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
            elif line == b"\r\n":
                self.rfile.read(length)
                self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"success":true}')


def serve(ready: Connection) -> None:
    """Be the stand-in until the parent ends this process."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        ready.send(server.server_address[1])
        server.serve_forever()


@contextmanager
def stand_in() -> Iterator[str]:
    """The stand-in's address."""
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe()
    process = context.Process(target=serve, args=(child,), daemon=True)
    process.start()
    child.close()  # so that recv() ends should the process fail to start
    yield f"http://127.0.0.1:{parent.recv()}"
    process.terminate()
    process.join()


def run() -> None:
    """Print webhooks a second, mapped and delivered, and the bare library's figure; a few
    seconds."""
    bodies = [orjson.dumps(WEBHOOK | {"userId": f"u-{number}"}) for number in range(PER_ROUND)]
    with stand_in() as url:
        destination = SegmentDestination(Settings(segment_write_key="key", segment_host=url))
        messages = prepare(destination, bodies)
        bare = Client("key", host=url, upload_size=UPLOAD_SIZE, max_queue_size=PER_ROUND)
        works: dict[str, Callable[[], object]] = {
            "bytes to message": lambda: prepare(destination, bodies),
            "messages delivered": lambda: send(destination, messages),
            "bare track() and flush()": lambda: send_bare(bare, messages),
        }
        rates = dict.fromkeys(works, 0.0)
        for _ in range(ROUNDS):
            for name, work in works.items():
                rates[name] = max(rates[name], rate(work))
        bare.join()
        destination.close()
    for name, best in rates.items():
        print(f"inbound, {name:26}{best:10,.0f} webhooks/s")
    ratio = rates["messages delivered"] / rates["bare track() and flush()"]
    print(f"inbound, delivered : bare          {ratio:10.2f}")


def rate(work: Callable[[], object]) -> float:
    """Webhooks a second."""
    started = time.perf_counter()
    work()
    return PER_ROUND / (time.perf_counter() - started)


def prepare(destination: SegmentDestination, bodies: list[bytes]) -> list[Step]:
    made: list[Step] = []
    for offset, body in enumerate(bodies):
        record = Record(ITERABLE_WEBHOOKS, 0, offset, "", body, {"received-at": "1709647652.5"}, 0)
        steps = destination.prepare(record)
        assert not isinstance(steps, Discarded | Dead)
        made += steps
    return made


def send(destination: SegmentDestination, messages: list[Step]) -> None:
    """In batches and from a few threads, as the courier does."""
    batches = [messages[at : at + UPLOAD_SIZE] for at in range(0, len(messages), UPLOAD_SIZE)]
    with ThreadPoolExecutor(THREADS) as pool:
        for outcomes in pool.map(lambda batch: destination.deliver("batch", batch), batches):
            assert outcomes == [Delivered()] * len(outcomes)


def send_bare(client: Client, messages: list[Step]) -> None:
    for message in messages:
        assert isinstance(message, SegmentMessage)
        client.track(
            message.user_id,
            message.event,
            message.body,
            dict(message.context),
            message.timestamp,
            message_id=message.message_id,
        )
    client.flush()


if __name__ == "__main__":
    run()
