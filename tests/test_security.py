"""Who may send: every form of every secret, and that none of them is ever told."""

import base64
import gzip
from typing import Any

import orjson
import pytest

from app.log.base import Log
from app.security import basic_credentials, first_element
from app.settings import Settings
from tests.builders import (
    SECRET,
    SECRETS,
    TOKEN,
    WRITE_KEY,
    Door,
    basic,
    locked,
    log,
    nobody,
    opened,
    records,
    signature,
    track,
    webhook,
)

__all__ = ["locked", "log"]

# As JavaScript writes them, and Python's json would not.
ODD = (
    b'{"type":"track","userId":"u1","event":"\xc3\xa9\xe2\x82\xac \xf0\x9f\x98\x80 \\" ] \\\\",'
    b'"properties":{"a":1e-7,"b":5,"c":1e+21,"d":0.000001,"e":123456789012345680000,"f":[[],{}]}}'
)


# --- /segment


@pytest.mark.parametrize("body", [ODD, orjson.dumps(track()), b' { "type" : "group" } '])
def test_a_body_signed_as_received_is_taken(locked: Door, body: bytes) -> None:
    assert locked.post("/segment", body, signature(body)).status_code == 200


def test_an_upper_case_signature_is_the_same_one(locked: Door) -> None:
    given = signature(ODD)["X-Signature"].upper()
    assert locked.post("/segment", ODD, {"X-Signature": given}).status_code == 200


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"X-Signature": ""},
        {"X-Signature": "sha1=" + signature(ODD)["X-Signature"]},
        {"X-Signature": "é" * 40},
        signature(ODD, "another secret"),
        signature(ODD + b" "),
        {"X-Signature": SECRET},
        basic(SECRET),
    ],
)
def test_a_missing_or_wrong_signature_answers_401(locked: Door, given: dict[str, str]) -> None:
    answer = locked.post("/segment", ODD, given)
    assert answer.status_code == 401
    assert answer.json is not None
    assert (answer.json["success"], answer.json["code"]) == (False, "unauthorized")
    assert SECRET not in answer.text
    assert locked.is_empty()


@pytest.mark.parametrize("signed", ["body", "gzip"])
def test_a_compressed_body_may_be_signed_before_or_after(locked: Door, signed: str) -> None:
    zipped = gzip.compress(ODD)
    header = signature(ODD if signed == "body" else zipped)
    answer = locked.post("/segment", zipped, header | {"Content-Encoding": "gzip"})
    assert answer.status_code == 200
    wrong = signature(ODD, "wrong") | {"Content-Encoding": "gzip"}
    assert locked.post("/segment", zipped, wrong).status_code == 401
    assert len(locked.calls()) == 1


@pytest.mark.parametrize("form", [b"[%b,%b]", b" [ %b , %b ] ", b"\n[\n%b,\n%b\n]"])
@pytest.mark.parametrize("signed", ["all", "first"])
def test_an_array_may_be_signed_whole_or_by_its_first_element(
    locked: Door, form: bytes, signed: str
) -> None:
    body = form % (ODD, orjson.dumps(track("u2")))
    answer = locked.post("/segment", body, signature(body if signed == "all" else ODD))
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["accepted"] == 2


def test_a_compressed_array_may_be_signed_by_its_first_element(locked: Door) -> None:
    answer = locked.post("/segment", b"[" + ODD + b"]", signature(ODD), zipped=True)
    assert answer.status_code == 200


def test_the_second_element_signs_nothing(locked: Door) -> None:
    body = b"[" + orjson.dumps(track("u2")) + b"," + ODD + b"]"
    assert locked.post("/segment", body, signature(ODD)).status_code == 401
    assert locked.is_empty()


@pytest.mark.parametrize(
    ("body", "first"),
    [
        (b"[1e-7,2]", b"1e-7"),
        (b'["a]\\"",2]', b'"a]\\""'),
        (b"[[1],[2]]", b"[1]"),
        (b'[{"n":' + b"9" * 5000 + b"}]", b'{"n":' + b"9" * 5000 + b"}"),
        (b"[]", None),
        (b"[", None),
        (b"", None),
        (b"{}", None),
        (b"[\xff]", None),
        (b"[" * 100_000, None),
    ],
)
def test_the_first_element_is_cut_out_as_it_was_written(body: bytes, first: bytes | None) -> None:
    assert first_element(body) == first


def test_a_body_that_is_no_json_and_not_signed_answers_401(locked: Door) -> None:
    for body in (b"", b"[", b"[" * 100_000, b"\xff"):
        assert locked.post("/segment", body).status_code == 401


def test_any_of_several_secrets_is_taken_while_they_are_rotated(log: Log) -> None:
    door = opened(
        Settings(
            segment_shared_secret=("old-secret", "new-secret"),
            bridge_write_key=("old-key", "new-key"),
            iterable_webhook_token=("old-token", "new-token"),
        ),
        log,
    )
    for age in ("old", "new"):
        body = orjson.dumps(track())
        assert door.post("/segment", body, signature(body, f"{age}-secret")).status_code == 200
        assert door.post("/v1/track", track(), basic(f"{age}-key")).status_code == 200
        assert door.post("/v1/track", track(writeKey=f"{age}-key")).status_code == 200
        token = {"Authorization": f"{age}-token"}
        assert door.post("/iterable", webhook(), token).status_code == 200
    assert door.post("/v1/track", track(), basic("old-key,new-key")).status_code == 401


# --- /v1/*


@pytest.mark.parametrize(
    "given",
    [
        basic(WRITE_KEY),
        basic(WRITE_KEY, "ignored"),
        basic(WRITE_KEY, None),
        {"Authorization": basic(WRITE_KEY)["Authorization"].replace("Basic", "basic")},
    ],
)
@pytest.mark.parametrize("path", ["track", "batch"])
def test_the_write_key_may_be_the_user_name(locked: Door, path: str, given: dict[str, str]) -> None:
    body = {"batch": [track()]} if path == "batch" else track()
    assert locked.post(f"/v1/{path}", body, given).status_code == 200
    assert len(locked.calls()) == 1


@pytest.mark.parametrize(
    "header",
    [{}, {"Authorization": "Bearer oauth"}, {"Authorization": "Basic é"}, basic("somebody else")],
)
@pytest.mark.parametrize("path", ["track", "batch", "t", "b", "import/"])
def test_the_write_key_may_be_in_the_body(locked: Door, path: str, header: dict[str, str]) -> None:
    single: dict[str, Any] = track()
    body = single if path.startswith("t") else {"batch": [single]}
    assert locked.post(f"/v1/{path}", body | {"writeKey": WRITE_KEY}, header).status_code == 200
    assert len(locked.calls()) == 1


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (track(), {}),
        (track(writeKey="wrong"), {}),
        (track(writeKey=None), {}),
        (track(writeKey=["x"]), {}),
        (track(context={"writeKey": WRITE_KEY}), {}),
        ([track(writeKey=WRITE_KEY)], {}),
        (b"{", {}),
        (b"", {}),
        (track(), basic("")),
        (track(), basic("", WRITE_KEY)),
        (track(), basic("wrong")),
        (track(), {"Authorization": WRITE_KEY}),
        (track(), {"Authorization": f"Bearer {WRITE_KEY}"}),
        (track(), {"Authorization": "Basic"}),
        (track(), {"Authorization": "Basic !!!"}),
        (track(), {"Authorization": "Basic é"}),
        (track(), {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:").decode()}),
    ],
)
@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch"])
def test_a_missing_or_wrong_write_key_answers_401(
    locked: Door, path: str, body: Any, header: dict[str, str]
) -> None:
    answer = locked.post(path, body, header)
    assert answer.status_code == 401
    assert answer.json is not None
    assert answer.json["code"] == "unauthorized"
    assert WRITE_KEY not in answer.text
    assert locked.is_empty()


def test_the_write_key_is_never_stored(locked: Door) -> None:
    keyed = {"writeKey": WRITE_KEY}
    assert locked.post("/v1/track", track() | keyed).status_code == 200
    batch = {"batch": [track() | keyed, nobody() | keyed], **keyed}
    assert locked.post("/v1/batch", batch).status_code == 200
    body = orjson.dumps([track() | keyed, nobody() | keyed])
    assert locked.post("/segment", body, signature(body)).status_code == 200
    assert len(locked.calls()) == 3
    assert len(locked.dead()) == 1  # the same call twice
    for topic in ("segment.calls", "dead.letters"):
        for record in records(locked.log, topic):
            assert WRITE_KEY.encode() not in (record.value or b"")
            assert WRITE_KEY not in repr(record.headers)


@pytest.mark.parametrize(
    ("authorization", "credentials"),
    [
        (basic("user", "pass:word")["Authorization"], ("user", "pass:word")),
        (basic("user", None)["Authorization"], ("user", "")),
        ("BASIC  " + base64.b64encode(b"u:p").decode(), ("u", "p")),
        ("", ("", "")),
        ("Bearer x", ("", "")),
        ("Basic dXNl", ("use", "")),
        ("Basic dXN", ("", "")),
        ("Basic é", ("", "")),
    ],
)
def test_basic_credentials(authorization: str, credentials: tuple[str, str]) -> None:
    assert basic_credentials(authorization) == credentials


# --- /iterable


@pytest.mark.parametrize(
    "header",
    [
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"OAuth2 {TOKEN}"},
        {"Authorization": f"oauth2  {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}"},
        {"X-Webhook-Token": TOKEN},
        {"X-Webhook-Token": TOKEN, "Authorization": "something else"},
        basic(TOKEN),
        basic("iterable", TOKEN),
    ],
)
def test_every_form_of_the_webhook_token_is_taken(locked: Door, header: dict[str, str]) -> None:
    assert locked.post("/iterable", webhook(), header).status_code == 200
    assert len(locked.webhooks()) == 1


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer "},
        {"Authorization": "wrong"},
        {"Authorization": f"Digest {TOKEN}"},
        {"Authorization": f"{TOKEN}x"},
        {"Authorization": TOKEN.upper()},
        {"Authorization": "Basic é"},
        {"X-Webhook-Token": "wrong"},
        {"X-Webhook-Token": ""},
        {"X-Api-Key": TOKEN},
        basic("", "wrong"),
    ],
)
def test_a_missing_or_wrong_webhook_token_answers_401(locked: Door, header: dict[str, str]) -> None:
    answer = locked.post("/iterable", webhook(), header)
    assert answer.status_code == 401
    assert answer.json is not None
    assert answer.json["code"] == "unauthorized"
    assert TOKEN not in answer.text
    assert locked.is_empty()


def test_a_token_in_the_address_counts_for_nothing(locked: Door) -> None:
    assert locked.post(f"/iterable?token={TOKEN}", webhook()).status_code == 401


# --- nothing is told


@pytest.mark.parametrize("path", ["/segment", "/v1/track", "/v1/batch", "/iterable"])
@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'"x"'])
def test_no_answer_and_no_log_line_holds_a_secret(
    locked: Door, path: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for header in ({}, signature(body), basic(WRITE_KEY), {"Authorization": TOKEN}):
        answer = locked.post(path, body, header)
        for secret in SECRETS:
            assert secret not in answer.text
            assert secret not in str(answer.headers)
            assert secret not in caplog.text
