"""Jobs: submit, plan, list, look, change."""

import base64
import binascii
import re
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response

from services.api.auth import Reader, Submitter
from services.api.dependencies import PICTURE, Stores, StoresDependency, WaitSeconds, WantsPicture
from services.api.downloads import read_picture
from services.api.errors import Problem
from services.api.examples import JOB_EXAMPLES
from services.api.http_cache import answer, etag_of, matches
from services.api.idempotency import Idempotent
from services.api.jobs.plan import Plan, plan_job
from services.api.jobs.schemas import JobChanges, JobPage, JobResource, JobsQuery
from services.api.jobs.submission import submit_job
from services.database import control, jobs, placement
from services.database.jobs import JobFilter, Version
from services.database.session import Session, notify_queue
from services.domain.errors import InvalidSpec
from services.domain.specs import JobSpec
from services.domain.states import TERMINAL

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
SubmittedBody = Annotated[JobSpec, Body(openapi_examples=JOB_EXAMPLES)]
_PREFIX = "after "
_ID = re.compile(r"[a-z]+_[0-9a-f]{32}")


@router.post(
    "",
    status_code=201,
    response_model=JobResource,
    responses={
        201: {
            "content": {PICTURE: {}},
            "description": "The job: at once, or with a wait as it has ended; or its grid.",
        },
        202: {"model": JobResource, "description": "The wait has run out; the job goes on."},
    },
)
async def submit(
    *,
    spec: SubmittedBody,
    caller: Submitter,
    idempotent: Idempotent,
    stores: StoresDependency,
    wait_seconds: WaitSeconds,
    wants_picture: WantsPicture,
) -> Response:
    """Submit a job; it is queued when this answers 201.

    With `Prefer: wait=N` the answer comes when the job has ended. With `Accept: image/png` as well,
    that of a sample job with one temperature is its grid.
    """

    async def effect(session: Session) -> JobResource:
        job = await submit_job(session, spec, project=caller.project, by=caller.key_id)
        return JobResource.of(job)

    done = await idempotent.perform(effect, status=201, location=lambda job: f"/v1/jobs/{job.id}")
    if wait_seconds is None:
        return done.response()
    job_id = JobResource.model_validate_json(done.stored.body).id
    async with stores.database.transaction() as session:
        job = await jobs.find(session, job_id)
    job = await stores.watch.wait_for_end(job, seconds=wait_seconds)
    headers = {"Location": f"/v1/jobs/{job_id}"}
    headers["Preference-Applied"] = f"wait={wait_seconds:.0f}"
    if job.status not in TERMINAL:
        return _job_response(job, 202, headers)
    if wants_picture and (picture := await read_picture(stores, job)):
        return Response(picture, 201, headers, media_type=PICTURE)
    return _job_response(job, 201, headers)


@router.post("/plan")
async def plan(spec: SubmittedBody, caller: Submitter, stores: StoresDependency) -> Plan:
    """Make every check of a submission, say what the job would take, and store nothing."""
    async with stores.database.transaction() as session:
        job_plan = await plan_job(session, spec, project=caller.project)
        await session.rollback()
    return job_plan


@router.get("")
async def list_jobs(
    query: Annotated[JobsQuery, Query()], caller: Reader, stores: StoresDependency
) -> JobPage:
    """List the project's jobs, newest first."""
    job_filter = JobFilter(
        status=query.status,
        kind=query.kind,
        preset=query.preset,
        name=query.name,
        tags=query.tags(),
        parent=query.parent,
        created_after=query.created_after,
    )
    async with stores.database.transaction() as session:
        rows = await jobs.list_newest(
            session,
            caller.project,
            job_filter,
            limit=query.limit + 1,
            before=read_cursor(query.cursor),
        )
    page = rows[: query.limit]
    next_cursor = write_cursor(page[-1].id) if len(rows) > query.limit else None
    return JobPage(jobs=[JobResource.of(job) for job in page], next_cursor=next_cursor)


@router.get(
    "/{job_id}",
    response_model=JobResource,
    responses={304: {"description": "It is still as you have it."}},
)
async def show(
    job_id: str,
    caller: Reader,
    stores: StoresDependency,
    request: Request,
    wait_seconds: WaitSeconds,
) -> Response:
    """Show one job; of a queued one also its position in the queue.

    With `If-None-Match` a job that is as it was answers 304. `Prefer: wait=N` waits for N seconds
    at most: with `If-None-Match` until the job has changed, without it until it has ended.
    """
    resource, version = await _read(stores, caller.project, job_id)
    if wait_seconds is not None:
        await _wait(stores, request, resource, version, wait_seconds)
        resource, _ = await _read(stores, caller.project, job_id)
    return answer(request, resource)


@router.patch(
    "/{job_id}",
    responses={409: {"model": Problem, "description": "The job has ended."}},
)
async def change(
    job_id: str, changes: JobChanges, caller: Submitter, stores: StoresDependency
) -> JobResource:
    """Change name, tags, priority or run time; the priority holds from the next placement on."""
    async with stores.database.transaction() as session:
        job = await jobs.find(session, job_id, lock=True, project=caller.project)
        values = changes.model_dump(exclude_unset=True)
        control.change(session, job, values, by=caller.key_id)
        await notify_queue(session)
        return JobResource.of(job)


async def _read(stores: Stores, project: str, job_id: str) -> tuple[JobResource, Version]:
    async with stores.database.transaction() as session:
        job = await jobs.find(session, job_id, project=project)
        position = await placement.queue_position(session, job)
    return JobResource.of(job, queue_position=position), Version(job.num_events, job.step)


async def _wait(
    stores: Stores, request: Request, resource: JobResource, version: Version, seconds: float
) -> None:
    if resource.status in TERMINAL:
        return
    if "If-None-Match" not in request.headers:
        async with stores.database.transaction() as session:
            job = await jobs.find(session, resource.id)
        await stores.watch.wait_for_end(job, seconds=seconds)
    elif matches(request, etag_of(resource.model_dump_json().encode())):
        await stores.watch.wait_for_change(resource.id, version, seconds=seconds)


def _job_response(job: Any, status: int, headers: dict[str, str]) -> Response:
    body = JobResource.of(job).model_dump_json()
    return Response(body, status, headers, media_type="application/json")


def write_cursor(last_id: str) -> str:
    """Return the cursor of the page that begins behind this id."""
    return base64.urlsafe_b64encode((_PREFIX + last_id).encode()).decode().rstrip("=")


def read_cursor(cursor: str | None) -> str | None:
    """Return the id behind which the page begins.

    Raises:
        InvalidSpec: it is none of ours.
    """
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        last_id = text.decode().removeprefix(_PREFIX)
    except (binascii.Error, ValueError):
        last_id = ""
    if not _ID.fullmatch(last_id):
        raise InvalidSpec.at("query/cursor", "is not a cursor of this list")
    return last_id
