"""What both doors do alike: read a body, judge what is in it, store it durably, answer."""

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from flask import Flask, Response
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, UnsupportedMediaType

from app import deadletters
from app.errors import BadInput
from app.held import store
from app.log.base import DEAD_LETTERS, Log, LogUnavailable, NewRecord
from app.security import Unauthorized

# Seconds after which a sender may try again when the log cannot take anything.
RETRY_AFTER = 5
# orjson writes 254 levels of nesting and reads more.
WRITABLE_LEVELS = 250


@dataclass(slots=True)
class Judged:
    """A call or webhook after the door's look at it: to be stored, discarded, or refused.

    `record` is what is stored; of what is refused, what a dead letter keeps.
    """

    message_id: str | None
    record: NewRecord | None = None
    discarded: str | None = None
    error: BadInput | None = None


Judge = Callable[[Any], Judged]
Environ = Mapping[str, Any]  # of a request, as WSGI has it


def receive(environ: Environ, media_types: Sequence[str], limit: int) -> bytes:
    """The request's body as it came, at most `limit` bytes.

    Raises 415 for a content type that is not one of `media_types` (none at all is let pass), 413
    when it is over the limit, and BadInput when it ends before it should.
    """
    # Straight from the WSGI environment: Werkzeug's own ways to the same cost more than all the
    # rest of a door, and silently cut a chunked body off at the limit.
    media_type = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if media_type and not media_type.endswith(tuple(media_types)):
        raise UnsupportedMediaType(
            f"Content-Type {media_type} is not taken here; send {media_types[0]}."
        )
    declared = environ.get("CONTENT_LENGTH")
    if declared and int(declared) > limit:
        raise RequestEntityTooLarge
    if not declared and not environ.get("wsgi.input_terminated"):
        return b""
    body: bytes = environ["wsgi.input"].read(int(declared) if declared else limit + 1)
    if len(body) > limit:
        raise RequestEntityTooLarge
    if declared and len(body) < int(declared):
        raise BadInput("incomplete_body", "The body is shorter than its Content-Length.")
    return body


def unpacked(environ: Environ, body: bytes, limit: int) -> bytes:
    """The body inflated, where it is compressed, to at most `limit` bytes.

    Raises 415 for a compression other than gzip, 413 when the inflated body is over the limit, and
    BadInput when the gzip is broken.
    """
    encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding in ("gzip", "x-gzip"):
        return _inflate(body, limit)
    raise UnsupportedMediaType(f"Content-Encoding {encoding} is not taken here; send gzip.")


def _inflate(body: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise BadInput("invalid_gzip", "The body is not valid gzip.") from None
    if len(inflated) > limit:
        raise RequestEntityTooLarge
    if not inflater.eof:
        raise BadInput("invalid_gzip", "The gzip body ends too early.")
    if inflater.unused_data:
        raise BadInput("invalid_gzip", "The gzip body has more behind its end.")
    return inflated


def parse(body: bytes) -> Any:
    """The JSON value in `body`. Raises BadInput (`invalid_json`) with the place of the mistake."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadInput("invalid_json", f"The body is not valid JSON: {error}.") from None


def take_one(environ: Environ, log: Log, topic: str, judged: Judged) -> Response:
    """Store one call and answer. Raises BadInput, LogUnavailable."""
    if judged.error:
        raise judged.error
    if judged.discarded:
        return answer({"success": True, "discarded": judged.discarded})
    assert judged.record is not None  # the third of three cases # noqa: S101
    store(environ, log, topic, judged.record)
    return answer({"success": True})


def take_many(log: Log, topic: str, items: Sequence[Any], judge: Judge) -> Response:
    """Store the good ones of many calls, keep the bad ones as dead letters, and answer.

    Raises BadInput when every one is bad (nothing is kept then), and LogUnavailable.
    """
    judged = [judge(item) for item in items]
    refused = [(index, j, j.error) for index, j in enumerate(judged) if j.error]
    if refused and len(refused) == len(judged):
        raise _all_rejected([error for _, _, error in refused])
    # Letters first: when the log gives out in between, the sender repeats all of it, and the
    # letters, whose ids are derived from the calls, are the same ones again.
    letters = [_letter(topic, j.record, error) for _, j, error in refused if j.record]
    if letters:
        log.append(DEAD_LETTERS, letters)
    records = [j.record for j in judged if j.record and not j.error]
    if records:
        log.append(topic, records)
    shown = {
        "success": True,
        "accepted": len(judged) - len(refused),
        "rejected": [_rejection(*each) for each in refused],
    }
    discarded = [
        {"index": index, "messageId": j.message_id, "discarded": j.discarded}
        for index, j in enumerate(judged)
        if j.discarded
    ]
    return answer(shown | {"discarded": discarded} if discarded else shown)


def _all_rejected(refused: Sequence[BadInput]) -> BadInput:
    errors = {
        f"[{index}].{name}" if name else f"[{index}]": texts
        for index, error in enumerate(refused)
        for name, texts in (error.errors or {"": [error.message]}).items()
    }
    return BadInput("all_rejected", "Every call in the array is bad; nothing was stored.", errors)


def _rejection(index: int, judged: Judged, error: BadInput) -> dict[str, Any]:
    return {
        "index": index,
        "messageId": judged.message_id,
        "code": error.code,
        "message": error.message,
        "errors": error.errors,
    }


def _letter(topic: str, record: NewRecord, error: BadInput) -> NewRecord:
    body = record.value or b""
    # The same for the same call, so that a repeat of the whole array makes no second letter.
    call = record.headers["message-id"] or hashlib.sha256(body).hexdigest()
    return deadletters.write(
        reason=error.code,
        topic=topic,
        key=record.key,
        headers=record.headers,
        body=body,
        place=f"door/{topic}/{call}",
        now=float(record.headers["received-at"]),
        details={"message": error.message, "errors": error.errors, "attempts": 0},
    )


def refuse_item(
    item: Any, message_id: str | None, headers: Mapping[str, str], error: BadInput
) -> Judged:
    """A call that was refused, with what a dead letter keeps of it; `headers` as it would have had.

    A `messageId` of its own is named even when nothing else of the call can be used.
    """
    if message_id is None and isinstance(item, dict) and isinstance(item.get("messageId"), str):
        message_id = item["messageId"]
    try:
        body = orjson.dumps(item)
    except orjson.JSONEncodeError:
        body = orjson.dumps(_pruned(item))
    record = NewRecord("", body, {"message-id": message_id or "", **headers})
    return Judged(message_id, record, error=error)


def _pruned(value: Any, levels: int = WRITABLE_LEVELS) -> Any:
    """A copy that orjson can write: what is nested deeper, which nobody could deliver, is cut."""
    if not isinstance(value, dict | list):
        return value
    if not levels:
        return "(nested too deeply)"
    if isinstance(value, list):
        return [_pruned(inner, levels - 1) for inner in value]
    return {name: _pruned(inner, levels - 1) for name, inner in value.items()}


def answer(shown: dict[str, Any], status: int = 200) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(shown), status, content_type="application/json")


def refuse(
    status: int, code: str, message: str, errors: dict[str, list[str]] | None = None
) -> Response:
    """The one shape of every error answer.

    It always has `code` and `message`: analytics-python before 2.4 retries a 400 that lacks them.
    """
    shown = {"success": False, "code": code, "message": message, "errors": errors or {}}
    return answer(shown, status)


def not_taken(error: Exception) -> Response:
    """The answer when something could not be stored, for reasons that are not the sender's."""
    if isinstance(error, LogUnavailable):
        response = refuse(503, "log_unavailable", f"Not taken: {error}. Please retry.")
    else:
        # 503 and not 500: whatever it is, the sender should try again, and nothing was stored.
        response = refuse(503, "internal_error", "Something went wrong here. Please retry.")
    response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def register_errors(app: Flask) -> None:
    """Make every failure of a request a JSON answer that its sender can act on."""

    @app.errorhandler(BadInput)
    def bad_input(error: BadInput) -> Response:
        return refuse(400, error.code, error.message, error.errors)

    @app.errorhandler(Unauthorized)
    def unauthorized(error: Unauthorized) -> Response:
        return refuse(401, "unauthorized", str(error))

    @app.errorhandler(LogUnavailable)
    def unavailable(error: LogUnavailable) -> Response:
        app.logger.error("the log is unavailable: %s", error)
        return not_taken(error)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        code = (error.name or "error").lower().replace(" ", "_")
        response = refuse(error.code or 500, code, error.description or "")
        response.headers.extend((k, v) for k, v in error.get_headers() if k == "Allow")
        return response

    @app.errorhandler(Exception)
    def defect(error: Exception) -> Response:
        app.logger.error("unexpected error", exc_info=error)
        return not_taken(error)
