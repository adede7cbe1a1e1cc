"""Data sets: register a source, look whether it is ready."""

from fastapi import APIRouter, Response

from services.adapters.postgres import datasets
from services.api.dependencies import StoresDependency
from services.api.schemas import DatasetRegistration, DatasetResource, JobResource
from services.api.submission import register_dataset
from services.domain.jobs import DatasetSpec

router = APIRouter(prefix="/v1/datasets", tags=["data sets"])


@router.post("", status_code=201)
async def register(
    spec: DatasetSpec, stores: StoresDependency, response: Response
) -> DatasetRegistration:
    """Register a source of images; a job prepares it."""
    dataset, job = await register_dataset(stores.database, spec, s3_prefixes=stores.s3_prefixes)
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    return DatasetRegistration(
        dataset=DatasetResource.model_validate(dataset), job=JobResource.of(job)
    )


@router.get("")
async def list_datasets(stores: StoresDependency) -> list[DatasetResource]:
    """List the data sets, newest first."""
    async with stores.database.transaction() as session:
        rows = await datasets.list_newest(session)
    return [DatasetResource.model_validate(row) for row in rows]


@router.get("/{name_or_id}")
async def show(name_or_id: str, stores: StoresDependency) -> DatasetResource:
    """Show one data set."""
    async with stores.database.transaction() as session:
        return DatasetResource.model_validate(await datasets.find(session, name_or_id))
