"""Typed, time-sortable ids: a prefix and a UUIDv7, such as `job_0198c5…`."""

from datetime import datetime
from uuid import UUID


def make_id(prefix: str, *, now: datetime, entropy: bytes) -> str:
    """Return `prefix_` and 32 hexadecimal digits that sort by time, to the millisecond.

    Args:
        prefix: type of the thing, such as `job`.
        now: the present time, with time zone.
        entropy: 10 random bytes.
    """
    milliseconds = int(now.timestamp() * 1000)
    value = bytearray(milliseconds.to_bytes(6, "big") + entropy[:10])
    value[6] = 0x70 | value[6] & 0x0F  # version 7
    value[8] = 0x80 | value[8] & 0x3F  # variant of RFC 9562
    return f"{prefix}_{UUID(bytes=bytes(value)).hex}"
