"""What jobs leave: metrics and artifacts."""

from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import RedirectResponse

from services.adapters.postgres import jobs, results
from services.adapters.postgres.results import json_number
from services.api.dependencies import StoresDependency
from services.api.downloads import redirect_to
from services.api.schemas import ArtifactResource, MetricSeries

router = APIRouter(prefix="/v1", tags=["results"])


@router.get("/jobs/{job_id}/metrics")
async def list_metrics(
    job_id: str,
    stores: StoresDependency,
    names: Annotated[list[str] | None, Query()] = None,
    from_step: Annotated[int, Query(ge=0, lt=2**63)] = 0,
) -> dict[str, MetricSeries]:
    """Return the job's metrics by name; without names, all of them."""
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id)
        rows = await results.list_metrics(session, job_id, names=names or [], from_step=from_step)
    series = {}
    for name, group in groupby(rows, key=lambda row: row.name):
        points = list(group)
        series[name] = MetricSeries(
            steps=[point.step for point in points],
            values=[json_number(point.value) for point in points],
        )
    return series


@router.get("/jobs/{job_id}/artifacts")
async def list_artifacts(job_id: str, stores: StoresDependency) -> list[ArtifactResource]:
    """List the files a job made."""
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id)
        rows = await results.list_artifacts(session, job_id)
    return [ArtifactResource.model_validate(row) for row in rows]


@router.get("/jobs/{job_id}/artifacts/{name:path}", status_code=307)
async def download_artifact(job_id: str, name: str, stores: StoresDependency) -> RedirectResponse:
    """Redirect to a URL from which the file can be downloaded for a while."""
    async with stores.database.transaction() as session:
        artifact = await results.find_artifact(session, job_id, name)
    return redirect_to(stores, artifact.key)
