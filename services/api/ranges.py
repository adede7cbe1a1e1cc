"""Which part of a file a request asks for (RFC 9110, one range)."""

import re
from dataclasses import dataclass

from fastapi import Request

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True)
class Part:
    """Bytes from `first` to `last`, both included."""

    first: int
    last: int


class NoSuchPart(ValueError):
    """The range begins behind the end of the file."""


def asked_part(request: Request, *, size_bytes: int, etag: str) -> Part | None:
    """Return the part that is asked for; None for all of it.

    Several ranges at once, and what is no range, are answered with the whole file, as is a range
    of another version (`If-Range`).

    Raises:
        NoSuchPart: there is no such part.
    """
    found = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if found is None or request.headers.get("If-Range", etag) != etag:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        begin, end = max(0, size_bytes - int(last)), size_bytes - 1
        if int(last) == 0:
            raise NoSuchPart
    else:
        begin, end = int(first), min(int(last or size_bytes), size_bytes - 1)
        if last and int(last) < begin:
            return None
    if begin >= size_bytes:
        raise NoSuchPart
    return Part(begin, end)
