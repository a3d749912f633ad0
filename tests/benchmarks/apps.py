"""What the bridge is measured against: an empty view, and one that forwards inside the request."""

import os

import requests
from flask import Flask, Response, request

empty = Flask("empty")
forwarding = Flask("forwarding")
session = requests.Session()


@empty.post("/v1/<path>")
def nothing(path: str) -> Response:
    return Response(b'{"success":true}', content_type="application/json")


@forwarding.post("/v1/<path>")
def forward(path: str) -> Response:
    session.post(
        os.environ["ITERABLE_BASE_URL"] + "/api/events/track",
        data=request.get_data(),
        headers={"Api-Key": "key", "Content-Type": "application/json"},
        timeout=10,
    )
    return Response(b'{"success":true}', content_type="application/json")
