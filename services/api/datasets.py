"""Data sets and presets as JSON."""

from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import BaseModel, JsonValue

from services.api.auth import Reader, Submitter
from services.api.dependencies import Resource, StoresDependency
from services.api.errors import Problem, Responses
from services.api.idempotency import Idempotent
from services.api.jobs.schemas import JobResource
from services.api.jobs.submission import register_dataset
from services.database import datasets
from services.database.session import Session
from services.domain.specs import DatasetSpec

router = APIRouter(prefix="/v1/datasets", tags=["data sets"])
NAME_TAKEN: Responses = {409: {"model": Problem, "description": "Another data set has this name."}}
IN_USE: Responses = {409: {"model": Problem, "description": "A job that has not ended uses it."}}


class DatasetResource(Resource):
    """A registered data set; usable when its status is ready."""

    id: str
    name: str
    status: str
    message: str | None
    source: dict[str, JsonValue]
    content_hash: str | None
    description: dict[str, JsonValue] | None
    created_at: datetime


class DatasetRegistration(BaseModel):
    """A new data set and the job that prepares it."""

    dataset: DatasetResource
    job: JobResource


@router.post("", status_code=201, response_model=DatasetRegistration, responses=NAME_TAKEN)
async def register(
    spec: DatasetSpec, caller: Submitter, idempotent: Idempotent, stores: StoresDependency
) -> Response:
    """Register a source of images under a name of the project; a job prepares it."""

    async def effect(session: Session) -> DatasetRegistration:
        dataset, job = await register_dataset(
            session,
            spec,
            project=caller.project,
            s3_prefixes=stores.s3_prefixes,
            by=caller.key_id,
        )
        return DatasetRegistration(
            dataset=DatasetResource.model_validate(dataset), job=JobResource.of(job)
        )

    done = await idempotent.perform(
        effect, status=201, location=lambda body: f"/v1/datasets/{body.dataset.id}"
    )
    return done.response()


@router.get("")
async def list_datasets(caller: Reader, stores: StoresDependency) -> list[DatasetResource]:
    """List the project's data sets, newest first."""
    async with stores.database.transaction() as session:
        rows = await datasets.list_newest(session, caller.project)
    return [DatasetResource.model_validate(row) for row in rows]


@router.get("/{name_or_id}")
async def show(name_or_id: str, caller: Reader, stores: StoresDependency) -> DatasetResource:
    """Show one data set."""
    async with stores.database.transaction() as session:
        row = await datasets.find(session, caller.project, name_or_id)
    return DatasetResource.model_validate(row)


@router.delete("/{name_or_id}", status_code=202, responses=IN_USE)
async def delete(name_or_id: str, caller: Submitter, stores: StoresDependency) -> DatasetResource:
    """Delete a data set: its name is free at once, and its files go soon.

    Refused (409) while a job that has not ended uses it, its own preparation among them. By its id
    it stays to be seen, as deleted; again is no error.
    """
    async with stores.database.transaction() as session:
        row = await datasets.delete(session, caller.project, name_or_id)
        return DatasetResource.model_validate(row)
