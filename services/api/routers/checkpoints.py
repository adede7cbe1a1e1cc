"""Checkpoints: look, download, pin, delete."""

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

from services.adapters.postgres import checkpoints, jobs
from services.api.dependencies import StoresDependency
from services.api.downloads import redirect_to
from services.api.schemas import CheckpointResource, Problem
from services.domain.errors import Gone, NotFound
from services.domain.statuses import CheckpointStatus

router = APIRouter(prefix="/v1", tags=["checkpoints"])


@router.get("/jobs/{job_id}/checkpoints")
async def list_of_job(
    job_id: str,
    stores: StoresDependency,
    status: CheckpointStatus = CheckpointStatus.COMMITTED,
) -> list[CheckpointResource]:
    """List a job's checkpoints, oldest first: those that can be used, or those with a status."""
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id)
        rows = await checkpoints.list_of_job(session, job_id, status=status)
    return [CheckpointResource.model_validate(row) for row in rows]


@router.get("/checkpoints/{checkpoint_id}")
async def show(checkpoint_id: str, stores: StoresDependency) -> CheckpointResource:
    """Show one checkpoint and its files, also after they were deleted."""
    async with stores.database.transaction() as session:
        row = await checkpoints.find(session, checkpoint_id)
    return CheckpointResource.model_validate(row)


@router.get(
    "/checkpoints/{checkpoint_id}/files/{name:path}",
    status_code=307,
    responses={410: {"model": Problem, "description": "The checkpoint was deleted."}},
)
async def download(checkpoint_id: str, name: str, stores: StoresDependency) -> RedirectResponse:
    """Redirect to a URL from which the file can be downloaded for a while.

    A file of a checkpoint that was deleted is gone (410): asking again does not help.
    """
    async with stores.database.transaction() as session:
        checkpoint = await checkpoints.find(session, checkpoint_id)
    if not any(file["name"] == name for file in checkpoint.files):
        raise NotFound(f"checkpoint {checkpoint_id} has no file {name!r}")
    if checkpoint.status in checkpoints.GONE:
        raise Gone(f"checkpoint {checkpoint_id} was deleted, and its files with it")
    return redirect_to(stores, f"{checkpoint.prefix}/{name}")


@router.post("/checkpoints/{checkpoint_id}/pin", responses={409: {"model": Problem}})
async def pin(checkpoint_id: str, stores: StoresDependency) -> CheckpointResource:
    """Keep a checkpoint, whatever the job's policy says; again is no error."""
    async with stores.database.transaction() as session:
        return CheckpointResource.model_validate(await checkpoints.pin(session, checkpoint_id))


@router.post("/checkpoints/{checkpoint_id}/unpin")
async def unpin(checkpoint_id: str, stores: StoresDependency) -> CheckpointResource:
    """Leave a checkpoint to the job's policy again; again is no error."""
    async with stores.database.transaction() as session:
        return CheckpointResource.model_validate(await checkpoints.unpin(session, checkpoint_id))


@router.delete("/checkpoints/{checkpoint_id}", status_code=202, responses={409: {"model": Problem}})
async def delete(checkpoint_id: str, stores: StoresDependency) -> CheckpointResource:
    """Delete a checkpoint: it cannot be used from now on, and its files go soon.

    Refused (409) while it is pinned, while a job that has not ended reads it, and while its own job
    would resume from it. The checkpoint itself stays to be seen, as deleted; again is no error.
    """
    async with stores.database.transaction() as session:
        row = await checkpoints.request_deletion(session, checkpoint_id)
        return CheckpointResource.model_validate(row)
