"""Ids of what is stored, the keys of an attempt's objects in the bucket, and files there."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

ATTEMPTS_ROOT = "jobs/"
_KEY = re.compile(r"jobs/(?P<job_id>job_[0-9a-f]{32})/attempts/(?P<number>[1-9][0-9]{0,8})/.", re.S)


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


class AttemptNumber(NamedTuple):
    """An attempt, as its keys name it."""

    job_id: str
    number: int


def attempt_prefix(job_id: str, number: int) -> str:
    """Return the prefix of everything that an attempt stores, without a slash at its end."""
    return f"{ATTEMPTS_ROOT}{job_id}/attempts/{number}"


def attempt_of_key(key: str) -> AttemptNumber | None:
    """Return the attempt that stored an object, or None if it is not one of an attempt."""
    match = _KEY.match(key)
    return AttemptNumber(match["job_id"], int(match["number"])) if match else None


@dataclass(frozen=True)
class StoredFile:
    """A file in S3, named relative to its prefix."""

    name: str
    size_bytes: int
    sha256: str
