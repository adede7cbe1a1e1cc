"""Jobs: submit, look, cancel."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response

from services.adapters.postgres import attempts, jobs
from services.api.dependencies import StoresDependency
from services.api.schemas import AttemptResource, EventResource, JobPage, JobResource
from services.api.submission import submit_job
from services.domain.jobs import JobSpec
from services.domain.statuses import JobStatus

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

EXAMPLES = {
    "train": {"value": {"kind": "train", "preset": "mnist-cpu", "dataset": "mnist"}},
    "evaluate": {"value": {"kind": "evaluate", "checkpoint": "ckpt_…", "dataset": "mnist"}},
    "sample": {"value": {"kind": "sample", "checkpoint": "ckpt_…", "temperature": 0.8}},
}


@router.post("", status_code=201)
async def submit(
    spec: Annotated[JobSpec, Body(openapi_examples=EXAMPLES)],
    stores: StoresDependency,
    response: Response,
) -> JobResource:
    """Submit a job; it is queued when this answers 201."""
    job = await submit_job(stores.database, spec)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
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
    """Show one job."""
    async with stores.database.transaction() as session:
        return JobResource.of(await jobs.find(session, job_id))


@router.post("/{job_id}/cancel")
async def cancel(job_id: str, stores: StoresDependency) -> JobResource:
    """Cancel a job: at once if it is queued, else after a checkpoint at the next step."""
    async with stores.database.transaction() as session:
        return JobResource.of(await jobs.request_cancel(session, job_id))


@router.get("/{job_id}/attempts")
async def list_attempts(job_id: str, stores: StoresDependency) -> list[AttemptResource]:
    """List the executions of a job, oldest first."""
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id)
        rows = await attempts.list_all(session, job_id)
    return [AttemptResource.model_validate(row) for row in rows]


@router.get("/{job_id}/events")
async def list_events(
    job_id: str, stores: StoresDependency, after: Annotated[int, Query(ge=0, lt=2**31)] = 0
) -> list[EventResource]:
    """List what happened to a job, in order, from event number `after` + 1 on."""
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id)
        rows = await jobs.list_events(session, job_id, after=after)
    return [EventResource.model_validate(row) for row in rows]
