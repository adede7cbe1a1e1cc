"""Jobs: submit, look, change, cancel, pause, resume, fork."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response

from services.adapters.postgres import attempts, jobs, requests
from services.adapters.postgres.database import notify_queue
from services.api.dependencies import StoresDependency
from services.api.downloads import read_picture
from services.api.forking import ForkOptions, fork_job
from services.api.preferences import PICTURE, WaitSeconds, WantsPicture
from services.api.schemas import (
    AttemptResource,
    CancelOptions,
    EventResource,
    JobChanges,
    JobPage,
    JobResource,
)
from services.api.submission import submit_job
from services.domain.jobs import JobSpec
from services.domain.statuses import TERMINAL, JobStatus

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

EXAMPLES = {
    "train": {"value": {"kind": "train", "preset": "mnist-cpu", "dataset": "mnist"}},
    "evaluate": {"value": {"kind": "evaluate", "checkpoint": "ckpt_…", "dataset": "mnist"}},
    "sample": {"value": {"kind": "sample", "checkpoint": "ckpt_…", "temperature": 0.8}},
    "nearest images": {
        "value": {
            "kind": "analyze",
            "analysis": "nearest_images",
            "checkpoint": "ckpt_…",
            "dataset": "mnist",
        }
    },
    "training curves": {
        "value": {"kind": "analyze", "analysis": "training_curves", "jobs": ["job_…", "job_…"]}
    },
}


@router.post(
    "",
    status_code=201,
    response_model=JobResource,
    responses={
        201: {"content": {PICTURE: {}}, "description": "The job, or of a sample job the picture."},
        202: {"model": JobResource, "description": "The wait has run out; the job goes on."},
    },
)
async def submit(
    spec: Annotated[JobSpec, Body(openapi_examples=EXAMPLES)],
    stores: StoresDependency,
    response: Response,
    wait_seconds: WaitSeconds,
    wants_picture: WantsPicture,
) -> Any:
    """Submit a job; it is queued when this answers 201.

    With `Prefer: wait=N` the answer comes when the job has ended. With `Accept: image/png` as well,
    that of a sample job with one temperature is its grid.
    """
    job = await submit_job(stores.database, spec)
    headers = {"Location": f"/v1/jobs/{job.id}"}
    if wait_seconds is not None:
        headers["Preference-Applied"] = f"wait={wait_seconds:.0f}"
        job = await stores.watch.wait_for_end(job, seconds=wait_seconds)
        if job.status not in TERMINAL:
            response.status_code = 202
        elif wants_picture and (picture := await read_picture(stores, job)):
            return Response(picture, 201, headers, media_type=PICTURE)
    response.headers.update(headers)
    return JobResource.of(job)


@router.get("")
async def list_jobs(
    stores: StoresDependency,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
    status: JobStatus | None = None,
    kind: str | None = None,
) -> JobPage:
    """List jobs, newest first."""
    async with stores.database.transaction() as session:
        rows = await jobs.list_newest(
            session, limit=limit + 1, before=cursor, status=status, kind=kind
        )
    page = rows[:limit]
    next_cursor = page[-1].id if len(rows) > limit else None
    return JobPage(jobs=[JobResource.of(job) for job in page], next_cursor=next_cursor)


@router.get("/{job_id}")
async def show(job_id: str, stores: StoresDependency) -> JobResource:
    """Show one job; of a queued one also its position in the queue."""
    async with stores.database.transaction() as session:
        job = await jobs.find(session, job_id)
        return JobResource.of(job, queue_position=await jobs.queue_position(session, job))


@router.patch("/{job_id}")
async def change(job_id: str, changes: JobChanges, stores: StoresDependency) -> JobResource:
    """Change name, tags, priority or run time; the priority holds from the next placement on."""
    async with stores.database.transaction() as session:
        job = await jobs.find(session, job_id, lock=True)
        requests.change(job, changes.model_dump(exclude_unset=True))
        await notify_queue(session)
        return JobResource.of(job)


@router.post("/{job_id}/cancel")
async def cancel(
    job_id: str, stores: StoresDependency, options: CancelOptions | None = None
) -> JobResource:
    """Cancel a job: at once if it is not running, else after a checkpoint at the next step.

    By force its processes are killed instead, and what the newest checkpoint does not hold is lost.
    """
    forced = options is not None and options.force
    async with stores.database.transaction() as session:
        return JobResource.of(await requests.cancel(session, job_id, forced=forced))


@router.post("/{job_id}/pause")
async def pause(job_id: str, stores: StoresDependency) -> JobResource:
    """Take a job off its nodes, after a checkpoint at the next step, until it is resumed."""
    async with stores.database.transaction() as session:
        return JobResource.of(await requests.pause(session, job_id))


@router.post("/{job_id}/resume")
async def resume(job_id: str, stores: StoresDependency) -> JobResource:
    """Put a paused job back into the queue; it goes on from its newest checkpoint."""
    async with stores.database.transaction() as session:
        return JobResource.of(await requests.resume(session, job_id))


@router.post("/{job_id}/fork", status_code=201)
async def fork(
    job_id: str, options: ForkOptions, stores: StoresDependency, response: Response
) -> JobResource:
    """Train a new job from a checkpoint of this one, with other overrides."""
    job = await fork_job(stores.database, job_id, options)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return JobResource.of(job)


@router.get("/{job_id}/attempts")
async def list_attempts(job_id: str, stores: StoresDependency) -> list[AttemptResource]:
    """List the executions of a job, oldest first."""
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id)
        rows = await attempts.list_all(session, job_id)
        nodes_of = await attempts.nodes_of(session, [row.id for row in rows])
    return [AttemptResource.of(row, node_ids=nodes_of[row.id]) for row in rows]


@router.get("/{job_id}/events")
async def list_events(
    job_id: str, stores: StoresDependency, after: Annotated[int, Query(ge=0, lt=2**31)] = 0
) -> list[EventResource]:
    """List what happened to a job, in order, from event number `after` + 1 on."""
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id)
        rows = await jobs.list_events(session, job_id, after=after)
    return [EventResource.model_validate(row) for row in rows]
