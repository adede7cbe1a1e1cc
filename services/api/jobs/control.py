"""What is done with a job: cancel, pause, resume, fork; and how it went."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.api.auth import Reader, Submitter
from services.api.dependencies import EVENT_STREAM, LastEventId, StoresDependency, WantsStream
from services.api.errors import Problem, Responses
from services.api.idempotency import Idempotent
from services.api.jobs.schemas import AttemptResource, CancelOptions, EventResource, JobResource
from services.api.jobs.submission import ForkOptions, fork_job
from services.api.streaming import follow_events, stream
from services.database import attempts, control, jobs
from services.database.session import Session

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])
CONFLICT: Responses = {409: {"model": Problem, "description": "The job is in another state."}}


@router.post("/cancel", response_model=JobResource, responses=CONFLICT)
async def cancel(
    job_id: str, caller: Submitter, idempotent: Idempotent, options: CancelOptions | None = None
) -> Response:
    """Cancel a job: at once if it is not running, else after a checkpoint at the next step.

    With `force` it is killed, and what it has not stored yet is lost. Again is no error.
    """
    forced = options is not None and options.force

    async def effect(session: Session) -> JobResource:
        job = await control.cancel(
            session, job_id, forced=forced, project=caller.project, by=caller.key_id
        )
        return JobResource.of(job)

    return (await idempotent.perform(effect)).response()


@router.post("/pause", response_model=JobResource, responses=CONFLICT)
async def pause(job_id: str, caller: Submitter, idempotent: Idempotent) -> Response:
    """Take a job off its nodes, after a checkpoint at the next step, until it is resumed."""

    async def effect(session: Session) -> JobResource:
        job = await control.pause(session, job_id, project=caller.project, by=caller.key_id)
        return JobResource.of(job)

    return (await idempotent.perform(effect)).response()


@router.post("/resume", response_model=JobResource, responses=CONFLICT)
async def resume(job_id: str, caller: Submitter, idempotent: Idempotent) -> Response:
    """Put a paused job back into the queue; it goes on from its newest checkpoint."""

    async def effect(session: Session) -> JobResource:
        job = await control.resume(session, job_id, project=caller.project, by=caller.key_id)
        return JobResource.of(job)

    return (await idempotent.perform(effect)).response()


@router.post("/fork", status_code=201, response_model=JobResource, responses=CONFLICT)
async def fork(
    job_id: str, options: ForkOptions, caller: Submitter, idempotent: Idempotent
) -> Response:
    """Train a new job from a checkpoint of this one, with other overrides."""

    async def effect(session: Session) -> JobResource:
        job = await fork_job(session, job_id, options, project=caller.project, by=caller.key_id)
        return JobResource.of(job)

    done = await idempotent.perform(effect, status=201, location=lambda job: f"/v1/jobs/{job.id}")
    return done.response()


@router.get("/attempts")
async def list_attempts(
    job_id: str, caller: Reader, stores: StoresDependency
) -> list[AttemptResource]:
    """List the executions of a job, oldest first."""
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id, project=caller.project)
        rows = await attempts.list_all(session, job_id)
        nodes_of = await attempts.nodes_of(session, [row.id for row in rows])
    return [AttemptResource.of(row, node_ids=nodes_of[row.id]) for row in rows]


@router.get(
    "/events",
    response_model=list[EventResource],
    responses={200: {"content": {EVENT_STREAM: {}}, "description": "Events, or a stream of them."}},
)
async def list_events(
    *,
    job_id: str,
    caller: Reader,
    stores: StoresDependency,
    wants_stream: WantsStream,
    last_event_id: LastEventId = None,
    after: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> object:
    """List what happened to a job, in order, from event number `after` + 1 on.

    With `Accept: text/event-stream` events are sent as they happen, from the one behind
    `Last-Event-ID` on, until the job has ended.
    """
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdecimal():
        after = min(int(last_event_id), 2**31 - 1)
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id, project=caller.project)
        rows = (
            []
            if wants_stream
            else await jobs.list_events(session, job_id, after=after, limit=limit)
        )
    if wants_stream:
        return stream(follow_events(stores, job_id, after=after))
    return [EventResource.model_validate(row) for row in rows]
