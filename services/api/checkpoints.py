"""What jobs leave, as JSON."""

from datetime import datetime

from fastapi import APIRouter, Request, Response

from services.api.auth import Reader, Submitter
from services.api.dependencies import Resource, StoresDependency
from services.api.downloads import Download, deliver
from services.api.errors import Problem, Responses
from services.api.idempotency import Idempotent
from services.api.jobs.schemas import JobResource
from services.api.jobs.submission import import_checkpoint
from services.api.results import DOWNLOADS, FileResource
from services.database import checkpoints, jobs
from services.database.session import Session
from services.domain.errors import Gone, NotFound
from services.domain.specs import CheckpointImport
from services.domain.states import CheckpointStatus

router = APIRouter(prefix="/v1", tags=["checkpoints"])
CONFLICT: Responses = {409: {"model": Problem, "description": "Its state or a reader forbids it."}}


class CheckpointResource(Resource):
    """A checkpoint; while committed it can be evaluated, sampled and resumed from."""

    id: str
    job_id: str
    step: int
    status: CheckpointStatus
    pinned: bool
    size_bytes: int
    files: list[FileResource]
    created_at: datetime


@router.post("/checkpoints", status_code=201, response_model=JobResource)
async def import_from(
    options: CheckpointImport, caller: Submitter, idempotent: Idempotent, stores: StoresDependency
) -> Response:
    """Import a checkpoint from a path or from S3; answers the job, which leaves one checkpoint.

    `published` is a file of the published NVAE code, of which nothing is executed; `folder` a
    checkpoint of this service, as it is downloaded.
    """

    async def effect(session: Session) -> JobResource:
        job = await import_checkpoint(
            session,
            options,
            project=caller.project,
            s3_prefixes=stores.s3_prefixes,
            by=caller.key_id,
        )
        return JobResource.of(job)

    done = await idempotent.perform(effect, status=201, location=lambda job: f"/v1/jobs/{job.id}")
    return done.response()


@router.get("/jobs/{job_id}/checkpoints")
async def list_of_job(
    job_id: str,
    caller: Reader,
    stores: StoresDependency,
    status: CheckpointStatus = CheckpointStatus.COMMITTED,
) -> list[CheckpointResource]:
    """List a job's checkpoints, oldest first: those that can be used, or those with a status."""
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id, project=caller.project)
        rows = await checkpoints.list_of_job(session, job_id, status=status)
    return [CheckpointResource.model_validate(row) for row in rows]


@router.get("/checkpoints/{checkpoint_id}")
async def show(checkpoint_id: str, caller: Reader, stores: StoresDependency) -> CheckpointResource:
    """Show one checkpoint and its files, also after they were deleted."""
    async with stores.database.transaction() as session:
        row = await checkpoints.find_in_project(session, caller.project, checkpoint_id)
    return CheckpointResource.model_validate(row)


@router.get(
    "/checkpoints/{checkpoint_id}/files/{name:path}",
    response_class=Response,
    responses=DOWNLOADS | {410: {"model": Problem, "description": "The checkpoint was deleted."}},
)
async def download(
    checkpoint_id: str, name: str, caller: Reader, stores: StoresDependency, request: Request
) -> Response:
    """Redirect to a URL from which the file can be downloaded for a while.

    Where clients cannot reach the object store it is the file itself, with `Range`. A file of a
    checkpoint that was deleted is gone (410): asking again does not help.
    """
    async with stores.database.transaction() as session:
        checkpoint = await checkpoints.find_in_project(session, caller.project, checkpoint_id)
    file = next((file for file in checkpoint.files if file["name"] == name), None)
    if file is None:
        raise NotFound(f"checkpoint {checkpoint_id} has no file {name!r}")
    if checkpoint.status in checkpoints.GONE:
        raise Gone(f"checkpoint {checkpoint_id} was deleted, and its files with it")
    file_download = Download(f"{checkpoint.prefix}/{name}", file["size_bytes"], file["sha256"])
    return await deliver(stores, request, file_download)


@router.post(
    "/checkpoints/{checkpoint_id}/pin", response_model=CheckpointResource, responses=CONFLICT
)
async def pin(checkpoint_id: str, caller: Submitter, idempotent: Idempotent) -> Response:
    """Keep a checkpoint, whatever the job's policy says; again is no error."""

    async def effect(session: Session) -> CheckpointResource:
        await checkpoints.find_in_project(session, caller.project, checkpoint_id)
        row = await checkpoints.pin(session, checkpoint_id, by=caller.key_id)
        return CheckpointResource.model_validate(row)

    return (await idempotent.perform(effect)).response()


@router.post("/checkpoints/{checkpoint_id}/unpin", response_model=CheckpointResource)
async def unpin(checkpoint_id: str, caller: Submitter, idempotent: Idempotent) -> Response:
    """Leave a checkpoint to the job's policy again; again is no error."""

    async def effect(session: Session) -> CheckpointResource:
        await checkpoints.find_in_project(session, caller.project, checkpoint_id)
        row = await checkpoints.unpin(session, checkpoint_id, by=caller.key_id)
        return CheckpointResource.model_validate(row)

    return (await idempotent.perform(effect)).response()


@router.delete("/checkpoints/{checkpoint_id}", status_code=202, responses=CONFLICT)
async def delete(
    checkpoint_id: str, caller: Submitter, stores: StoresDependency
) -> CheckpointResource:
    """Delete a checkpoint: it cannot be used from now on, and its files go soon.

    Refused (409) while it is pinned, while a job that has not ended reads it, and while its own job
    would resume from it. The checkpoint itself stays to be seen, as deleted; again is no error.
    """
    async with stores.database.transaction() as session:
        await checkpoints.find_in_project(session, caller.project, checkpoint_id)
        row = await checkpoints.request_deletion(session, checkpoint_id, by=caller.key_id)
        return CheckpointResource.model_validate(row)
