"""What no retry can mend: methods, content types, sizes, encodings, addresses."""

import gzip

import orjson
import pytest

from tests.builders import (
    OPEN,
    Door,
    door,
    log,
    nested,
    nobody,
    track,
)

__all__ = ["door", "log"]

ROUTES = ("/segment", "/v1/track")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/segment", {"POST", "PUT", "PATCH", "OPTIONS"}),
        ("DELETE", "/segment", {"POST", "PUT", "PATCH", "OPTIONS"}),
        ("PUT", "/v1/track", {"POST", "OPTIONS"}),
        ("GET", "/v1/batch", {"POST", "OPTIONS"}),
    ],
)
def test_another_method_answers_405(door: Door, method: str, path: str, allowed: set[str]) -> None:
    answer = door.post(path, track(), method=method)
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == allowed
    assert answer.json is not None
    assert answer.json["code"] == "method_not_allowed"
    assert door.is_empty()


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/segment", "text/plain"),
        ("/segment", "application/x-www-form-urlencoded"),
        ("/v1/track", "application/x-www-form-urlencoded"),
        ("/v1/batch", "multipart/form-data; boundary=x"),
    ],
)
def test_another_content_type_answers_415(door: Door, path: str, content_type: str) -> None:
    answer = door.post(path, track(), {"Content-Type": content_type})
    assert answer.status_code == 415
    assert answer.json is not None
    assert answer.json["code"] == "unsupported_media_type"
    assert "application/json" in answer.json["message"]
    assert door.is_empty()


def test_another_encoding_answers_415(door: Door) -> None:
    assert door.post("/segment", track(), {"Content-Encoding": "br"}).status_code == 415
    assert door.is_empty()


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_over_the_limit_answers_413(door: Door, route: str) -> None:
    large = track(properties={"text": "x" * 20_000})
    answer = door.post(route, large)
    assert answer.status_code == 413
    assert answer.json is not None
    assert answer.json["code"] == "request_entity_too_large"
    assert door.is_empty()


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_that_inflates_over_the_limit_answers_413(door: Door, route: str) -> None:
    bomb = gzip.compress(b" " * 10_000_000, mtime=0)
    assert len(bomb) < 20_000
    answer = door.post(route, bomb, {"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert door.is_empty()


def test_a_body_of_exactly_the_limit_is_taken(door: Door) -> None:
    body = orjson.dumps(track())
    body += b" " * (OPEN.bridge_max_body - len(body))
    assert door.post("/segment", body).status_code == 200
    assert door.post("/segment", body, zipped=True).status_code == 200
    assert door.post("/segment", body + b" ").status_code == 413
    assert door.post("/segment", body + b" ", zipped=True).status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no gzip",
        gzip.compress(b"{}", mtime=0)[:-3],
        gzip.compress(b"{}", mtime=0)[:-8] + bytes(8),
        gzip.compress(orjson.dumps(track()), mtime=0) + gzip.compress(b" ", mtime=0),
        gzip.compress(orjson.dumps(track()), mtime=0) + b"more",
    ],
)
def test_a_broken_gzip_body_is_refused(door: Door, body: bytes) -> None:
    answer = door.post("/segment", body, {"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["code"] == "invalid_gzip"
    assert door.is_empty()


@pytest.mark.parametrize("path", ["//v1/track", "/v1//track", "/v1/tracks", "/nowhere"])
def test_another_address_answers_404_and_never_a_redirect(door: Door, path: str) -> None:
    answer = door.post(path, track())
    assert answer.status_code == 404
    assert answer.json is not None
    assert (answer.json["success"], answer.json["code"]) == (False, "not_found")


def test_every_error_has_one_shape(door: Door) -> None:
    for answer in (
        door.post("/segment", nobody()),
        door.post("/segment", b"{"),
        door.post("/segment", track(), {"Content-Type": "text/html"}),
        door.post("/nowhere", track()),
        door.post("/segment", track(), method="DELETE"),
    ):
        assert answer.content_type == "application/json"
        assert answer.json is not None
        assert set(answer.json) == {"success", "code", "message", "errors"}


def test_the_deepest_call_that_is_taken_can_be_delivered(door: Door) -> None:
    assert door.post("/segment", track(properties=nested(190))).status_code == 200
    assert len(door.calls()) == 1
