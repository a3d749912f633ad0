"""Which partition a key belongs to, and how many partitions a topic has when it is created."""

from zlib import crc32

from app.log.base import DEAD_LETTERS, ITERABLE_WEBHOOKS, RECEIPTS, SEGMENT_CALLS

PARTITIONS = {SEGMENT_CALLS: 8, ITERABLE_WEBHOOKS: 8, DEAD_LETTERS: 1, RECEIPTS: 1}


def partition_for(key: str, partitions: int) -> int:
    """Return the partition of `key`, the same in every process and on every machine.

    CRC-32 modulo the count, as librdkafka's `consistent` partitioner does it (librdkafka,
    CONFIGURATION.md, `partitioner`). Raises UnicodeEncodeError for a key that UTF-8 cannot express.
    """
    return crc32(key.encode()) % partitions
