"""Server-sent events: what happens to a job, and what it prints, as it comes."""

import json
import time
from collections.abc import AsyncIterator

from fastapi.sse import EventSourceResponse, format_sse_event

from services.api.dependencies import Stores
from services.api.jobs.schemas import EventResource
from services.database import jobs, logs
from services.database.logs import LogPlace, LogText
from services.database.tables import Job
from services.domain.states import TERMINAL

KEEP_ALIVE_SECONDS = 15.0
LOOK_SECONDS = 1.0  # at the log of a job
MAX_STREAM_SECONDS = 3600.0  # then the client comes again, with its key
PAGE = 500
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
KEEP_ALIVE = format_sse_event(comment="still here")


def stream(parts: AsyncIterator[bytes]) -> EventSourceResponse:
    """Return a response that sends parts as they come."""
    return EventSourceResponse(parts, headers=HEADERS)


async def follow_events(stores: Stores, job_id: str, *, after: int) -> AsyncIterator[bytes]:
    """Yield the events of a job from the one behind `after` on, until the job has ended.

    What happened since, such as a checkpoint that was pinned, comes too.
    """
    until = time.monotonic() + MAX_STREAM_SECONDS
    async with stores.database.transaction() as session:
        job = await jobs.find(session, job_id)
        events = await jobs.list_events(session, job_id, after=after, limit=PAGE)
    after = min(after, job.num_events)
    has_ended = job.status in TERMINAL
    is_history = True
    while time.monotonic() < until:
        for event in events:
            data = EventResource.model_validate(event).model_dump_json()
            yield format_sse_event(id=str(event.number), event=event.type, data_str=data)
            after = event.number
            has_ended = has_ended or event.type in TERMINAL
        if is_history and len(events) == PAGE:
            async with stores.database.transaction() as session:
                events = await jobs.list_events(session, job_id, after=after, limit=PAGE)
            continue
        if has_ended:
            return
        is_history = False
        events = await stores.watch.wait_for_events(job_id, seen=after, seconds=KEEP_ALIVE_SECONDS)
        if not events:
            yield KEEP_ALIVE


async def follow_log(
    stores: Stores, job_id: str, *, rank: int, place: LogPlace | None, num_lines: int
) -> AsyncIterator[bytes]:
    """Yield what a rank printed, from a place or the last lines on, until the job has ended."""
    until = time.monotonic() + MAX_STREAM_SECONDS
    spoke_at = time.monotonic()
    texts: list[LogText] = []
    if place is None:
        place = LogPlace(0, 0)
        async with stores.database.transaction() as session:
            number = await logs.newest_attempt(session, job_id, rank=rank)
            if number is not None:
                texts = [
                    await logs.read_tail(
                        session, job_id, attempt=number, rank=rank, num_lines=num_lines
                    )
                ]
    while time.monotonic() < until:
        for text in texts:
            place = LogPlace(text.attempt, text.end)
            if text.text:
                yield _log_frame(text)
                spoke_at = time.monotonic()
        async with stores.database.transaction() as session:
            job = await jobs.find(session, job_id)
            texts = list(await logs.read_after(session, job_id, place, rank=rank))
        if texts:
            continue
        if job.status in TERMINAL:
            end = f"{place.attempt}-{place.offset}"
            yield format_sse_event(id=end, event="end", data_str=_end(job))
            return
        if time.monotonic() > spoke_at + KEEP_ALIVE_SECONDS:
            yield KEEP_ALIVE
            spoke_at = time.monotonic()
        await stores.watch.wait_for_events(job_id, seen=job.num_events, seconds=LOOK_SECONDS)


def _end(job: Job) -> str:
    return json.dumps({"status": job.status, "reason": job.reason, "message": job.message})


def _log_frame(text: LogText) -> bytes:
    data = {"attempt": text.attempt, "rank": text.rank, "offset": text.offset, "text": text.text}
    place = f"{text.attempt}-{text.end}"
    return format_sse_event(id=place, event="log", data_str=json.dumps(data))
