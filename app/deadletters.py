"""Dead letters: what could never be delivered, with all that a person needs to decide about it."""

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from app.log.base import DEAD_LETTERS, Log, NewRecord, Record

# Namespace for the ids of dead letters: derived from the place of death, so that a courier that
# dies between writing the letter and committing the offset writes the same letter again.
NAMESPACE = uuid.UUID("6f0c1a52-0f0c-5f4e-9d63-3a2f6f1f7a11")

# Headers of a call that is delivered again: of which letter, and for which consumer group alone
# (the others have delivered it; a late repeat of an old identify would overwrite a newer one).
REPLAY_OF = "replay-of"
REPLAY_FOR = "replay-for"


def write(
    *,
    reason: str,
    topic: str,
    key: str,
    headers: Mapping[str, str],
    body: bytes,
    place: str,
    now: float,
    details: Mapping[str, Any],
) -> NewRecord:
    """Make the record of a dead letter.

    `place` identifies the death (topic, partition and offset, or the rejected call); `details` may
    hold `answer`, `request`, `attempts`, `group`, `errors` and `fields`. Times are Unix seconds.
    """
    letter_id = str(uuid.uuid5(NAMESPACE, f"{place} {reason}"))
    letter = {
        "id": letter_id,
        "reason": reason,
        "topic": topic,
        "key": key,
        "headers": dict(headers),
        "body": body.decode("utf-8", "replace"),
        "died_at": now,
        **details,
    }
    shown = {"reason": reason, "topic": topic, "group": details.get("group", "")}
    return NewRecord(letter_id, orjson.dumps(letter), shown)


def tombstone(letter_id: str) -> NewRecord:
    """The record that ends a dead letter: replayed, or dropped."""
    return NewRecord(letter_id, None, {})


def records(log: Log) -> Iterator[Record]:
    """The records of the dead letters that still stand, oldest first."""
    for partition in range(log.partitions(DEAD_LETTERS)):
        places = {key: offset for key, (offset, _) in _standing(log, partition).items()}
        for record in log.read(DEAD_LETTERS, partition, 0):
            if places.get(record.key) == record.offset:
                yield record


def count(log: Log) -> Counter[tuple[str, str]]:
    """How many letters stand, by topic and consumer group (empty: refused at the door)."""
    return Counter(
        (headers["topic"], headers["group"])
        for partition in range(log.partitions(DEAD_LETTERS))
        for _, headers in _standing(log, partition).values()
    )


def _standing(log: Log, partition: int) -> dict[str, tuple[int, Mapping[str, str]]]:
    """Offset and headers of the letters without a tombstone, by their ids."""
    standing: dict[str, tuple[int, Mapping[str, str]]] = {}
    for record in log.read(DEAD_LETTERS, partition, 0):
        if record.value is None:
            standing.pop(record.key, None)
        else:
            standing.setdefault(record.key, (record.offset, record.headers))
    return standing


def letters(log: Log) -> Iterator[dict[str, Any]]:
    """The dead letters that still stand, oldest first."""
    for record in records(log):
        yield orjson.loads(record.value or b"null")


def replay(log: Log, chosen: Sequence[Mapping[str, Any]]) -> None:
    """Put calls back on the normal road, with their ids, and end their letters.

    The call is stored before the letter ends: a replay that is cut short repeats some calls, which
    their ids make harmless, and loses none. Raises LogUnavailable.
    """
    by_topic: dict[str, list[NewRecord]] = {}
    for letter in chosen:
        headers = {**letter["headers"], REPLAY_OF: letter["id"]}
        if group := letter.get("group"):
            headers[REPLAY_FOR] = group
        record = NewRecord(letter["key"], letter["body"].encode(), headers)
        by_topic.setdefault(letter["topic"], []).append(record)
    for topic, again in by_topic.items():
        log.append(topic, again)
    drop(log, [letter["id"] for letter in chosen])


def drop(log: Log, ids: Sequence[str]) -> None:
    """End dead letters for good. Raises LogUnavailable."""
    if ids:
        log.append(DEAD_LETTERS, [tombstone(letter_id) for letter_id in ids])
