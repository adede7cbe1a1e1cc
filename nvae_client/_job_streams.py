"""Waiting for a job, and its events and logs, as they are or as they come."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from nvae_client._sse import ServerSentEvent, follow
from nvae_client._transport import MAX_WAIT_SECONDS, Transport, read
from nvae_client.errors import UNEXPECTED_ANSWER, ServiceError
from nvae_client.models import Answer, Event, LogText

ENDED = frozenset({"succeeded", "failed", "cancelled"})
PACE_WITHOUT_ETAG_SECONDS = 0.5  # a proxy took it away: every look is answered at once
A = TypeVar("A", bound=Answer)
_EVENTS = TypeAdapter(tuple[Event, ...])


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


PACE_SECONDS = 0.2  # between two looks at a job that changes all the time


def _whole_seconds(seconds: float) -> int:
    return max(1, min(MAX_WAIT_SECONDS, round(seconds)))


class LogChoice(TypedDict, total=False):
    """Which log: of which rank (0), of which attempt (the newest), how many of its last lines."""

    rank: int
    attempt: int
    tail: int


def list_events(transport: Transport, job_path: str, after: int) -> Sequence[Event]:
    """Return the events with a number above `after`."""
    return read(_EVENTS, transport.get(f"{job_path}/events", parameters={"after": after}))


def stream_events(
    transport: Transport, job_path: str, after: int, has_ended: Callable[[], bool]
) -> Iterator[Event]:
    """Yield the events with a number above `after` as they come, until the job has ended."""
    stream = follow(
        transport,
        f"{job_path}/events",
        parameters={"after": after},
        is_last=lambda event: event.type in ENDED,
        has_ended=has_ended,
    )
    for event in stream:
        yield _validated(Event, event)


def read_log(transport: Transport, job_path: str, choice: LogChoice) -> LogText:
    """Return the last lines of a log."""
    answer = transport.get(f"{job_path}/logs", parameters=choice)
    return LogText(attempt=choice.get("attempt"), rank=choice.get("rank", 0), text=answer.text)


def stream_log(
    transport: Transport, job_path: str, choice: LogChoice, has_ended: Callable[[], bool]
) -> Iterator[LogText]:
    """Yield the last lines of a log, and what comes, until the job has ended."""
    stream = follow(
        transport,
        f"{job_path}/logs",
        parameters=choice,
        is_last=lambda event: event.type == "end",
        has_ended=has_ended,
    )
    for event in stream:
        if event.type == "log":
            yield _validated(LogText, event)


def _validated(kind: type[A], event: ServerSentEvent) -> A:
    try:
        return kind.model_validate(event.json())
    except ValidationError as error:
        detail = f"event {event.id or '?'} of the stream is none that this client knows"
        raise ServiceError(status=200, code=UNEXPECTED_ANSWER, detail=detail) from error
