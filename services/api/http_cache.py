"""Conditional requests and ranges: ETag and 304, and the part of a file that is asked for."""

import hashlib
import re
from dataclasses import dataclass

from fastapi import Request, Response
from pydantic import BaseModel

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def etag_of(content: bytes) -> str:
    """Return the ETag of a body."""
    return f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'


def matches(request: Request, etag: str) -> bool:
    """Whether the client has this version already."""
    etags = request.headers.get("If-None-Match", "")
    return any(part.strip().removeprefix("W/") in {etag, "*"} for part in etags.split(","))


def answer(request: Request, body: BaseModel) -> Response:
    """Return a body with its ETag, or 304 if the client has it."""
    content = body.model_dump_json().encode()
    headers = {"ETag": etag_of(content), "Cache-Control": "no-cache"}
    if matches(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="application/json", headers=headers)


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
    match = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if match is None or request.headers.get("If-Range", etag) != etag:
        return None
    first, last = match.groups()
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
