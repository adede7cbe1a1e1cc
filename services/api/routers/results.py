"""What jobs leave: metrics and artifacts."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import RedirectResponse

from services.adapters.postgres import charts, jobs, results
from services.adapters.postgres.results import json_number
from services.api.dependencies import StoresDependency
from services.api.downloads import redirect_to
from services.api.schemas import ArtifactResource, MetricSeries, MetricsQuery

router = APIRouter(prefix="/v1", tags=["results"])


@router.get("/jobs/{job_id}/metrics")
async def list_metrics(
    job_id: str, stores: StoresDependency, query: Annotated[MetricsQuery, Query()]
) -> dict[str, MetricSeries]:
    """Return the job's metrics by name; without names, all of them.

    A series with more points than `max_points` is cut into buckets of steps, and the lowest and
    the highest value of each are returned, at their own steps, with what is not finite, and with
    the first and the last point.
    """
    window = charts.Window(
        from_step=query.from_step, to_step=query.to_step, max_points=query.max_points
    )
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id)
        found = await charts.read_charts(session, job_id, window, names=query.names)
    return {
        name: MetricSeries(steps=chart.steps, values=[json_number(v) for v in chart.values])
        for name, chart in found.items()
    }


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
