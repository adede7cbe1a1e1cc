"""Waiting for jobs: requests that stay open until something has changed."""

import math
from collections.abc import Iterator

import httpx
from pydantic import TypeAdapter

from nvae_client.answers import Answer
from nvae_client.transport import MAX_WAIT_SECONDS, Transport, read

ENDED = frozenset({"succeeded", "failed", "cancelled"})
PACE_SECONDS = 0.2  # between two looks at a job that changes all the time
PACE_WITHOUT_ETAG_SECONDS = 0.5  # a proxy took it away: every look is answered at once


class _Status(Answer):
    status: str


_STATUS = TypeAdapter(_Status)


def changes(
    transport: Transport,
    path: str,
    *,
    look_seconds: float,
    limit_seconds: float | None = None,
    timeout_seconds: float | None = None,
) -> Iterator[httpx.Response]:
    """Yield the answer about a job now and whenever it differs, until the job has ended.

    Args:
        transport: to the service.
        path: of the job.
        look_seconds: how long one request waits for a change.
        limit_seconds: for how long the service may be away.
        timeout_seconds: how long to wait in all.

    Raises:
        TimeoutError: the job goes on.
    """
    clock, sleep = transport.timing.clock, transport.timing.sleep
    ends_at = math.inf if timeout_seconds is None else clock() + timeout_seconds
    etag: str | None = None
    seen = b""
    while True:
        asked_at = clock()
        response = transport.get(
            path,
            headers={"If-None-Match": etag} if etag else {},
            wait_seconds=_whole_seconds(min(look_seconds, ends_at - asked_at)) if etag else 0,
            limit_seconds=limit_seconds,
        )
        if response.status_code != httpx.codes.NOT_MODIFIED:
            if response.content != seen:
                yield response
            if read(_STATUS, response).status in ENDED:
                return
            seen, etag = response.content, response.headers.get("ETag")
        if clock() >= ends_at:
            raise TimeoutError(f"{path} has not ended in {timeout_seconds} s; it goes on")
        pace = PACE_SECONDS if etag else PACE_WITHOUT_ETAG_SECONDS
        sleep(max(0.0, pace - (clock() - asked_at)))


def _whole_seconds(seconds: float) -> int:
    return max(1, min(MAX_WAIT_SECONDS, round(seconds)))
