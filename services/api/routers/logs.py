"""What the ranks of a job print."""

import re
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse, Response

from services.adapters.postgres import jobs, logs
from services.adapters.postgres.logs import LogPlace
from services.api.authentication import Reader
from services.api.dependencies import StoresDependency
from services.api.preferences import EVENT_STREAM, WantsStream
from services.api.routers.control import LastEventId
from services.api.streams import follow_log, stream

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])
_PLACE = re.compile(r"([0-9]{1,9})-([0-9]{1,15})")


@router.get(
    "/logs",
    response_class=PlainTextResponse,
    responses={200: {"content": {EVENT_STREAM: {}}, "description": "Lines, or a stream of them."}},
)
async def show_log(
    *,
    job_id: str,
    caller: Reader,
    stores: StoresDependency,
    wants_stream: WantsStream,
    last_event_id: LastEventId = None,
    rank: Annotated[int, Query(ge=0, lt=2**20)] = 0,
    attempt: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    tail: Annotated[int, Query(ge=0, le=10_000)] = 200,
) -> Response:
    """Show the last lines that a rank printed, in the newest attempt or in a given one.

    With `Accept: text/event-stream` they are followed by what comes, until the job has ended; each
    event has attempt, rank, offset and text, and `Last-Event-ID` says where to go on.
    """
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id, project=caller.project)
        number = attempt or await logs.newest_attempt(session, job_id, rank=rank)
        text = ""
        if number is not None and not wants_stream:
            found = await logs.read_tail(session, job_id, attempt=number, rank=rank, num_lines=tail)
            text = found.text
    if not wants_stream:
        return PlainTextResponse(text)
    match = _PLACE.fullmatch(last_event_id or "")
    place = LogPlace(int(match[1]), int(match[2])) if match else None
    return stream(follow_log(stores, job_id, rank=rank, place=place, num_lines=tail))
