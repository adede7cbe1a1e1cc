"""Answers that can be recognized: ETag and 304."""

import hashlib

from fastapi import Request, Response
from pydantic import BaseModel


def etag_of(content: bytes) -> str:
    """Return the ETag of a body."""
    return f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'


def matches(request: Request, etag: str) -> bool:
    """Whether the client has this version already."""
    given = request.headers.get("If-None-Match", "")
    return any(part.strip().removeprefix("W/") in {etag, "*"} for part in given.split(","))


def answer(request: Request, body: BaseModel) -> Response:
    """Return a body with its ETag, or 304 if the client has it."""
    content = body.model_dump_json().encode()
    headers = {"ETag": etag_of(content), "Cache-Control": "no-cache"}
    if matches(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="application/json", headers=headers)
