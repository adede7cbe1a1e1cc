"""Events and logs of a job, as they are or as they come."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict, TypeVar

from pydantic import TypeAdapter, ValidationError

from nvae_client.answers import Answer, Event, LogText
from nvae_client.errors import UNEXPECTED_ANSWER, ServiceError
from nvae_client.events import ServerSentEvent
from nvae_client.following import follow
from nvae_client.transport import Transport, read
from nvae_client.waiting import ENDED

A = TypeVar("A", bound=Answer)
_EVENTS = TypeAdapter(tuple[Event, ...])


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
