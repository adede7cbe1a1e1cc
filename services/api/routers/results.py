"""What jobs leave: metrics and artifacts."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import RootModel

from services.adapters.postgres import charts, jobs, results
from services.adapters.postgres.results import json_number
from services.api.answers import answer
from services.api.authentication import Reader
from services.api.dependencies import StoresDependency
from services.api.downloads import Download, deliver
from services.api.schemas.problems import Problem, Responses
from services.api.schemas.results import ArtifactResource, MetricSeries, MetricsQuery

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])
DOWNLOADS: Responses = {
    200: {"content": {"application/octet-stream": {}}, "description": "The file itself."},
    206: {"content": {"application/octet-stream": {}}, "description": "The range asked for."},
    304: {"description": "It is the file that you have."},
    307: {"description": "Where it can be downloaded for a while."},
    416: {"model": Problem, "description": "The file is shorter."},
}


class MetricsByName(RootModel[dict[str, MetricSeries]]):
    """Series of a job."""


@router.get("/metrics", response_model=dict[str, MetricSeries])
async def list_metrics(
    job_id: str,
    caller: Reader,
    stores: StoresDependency,
    request: Request,
    query: Annotated[MetricsQuery, Query()],
) -> Response:
    """Return the job's metrics by name; without names, all of them.

    A series with more points than `max_points` is cut into buckets of steps, and the lowest and
    the highest value of each are returned, at their own steps, with what is not finite, and with
    the first and the last point.
    """
    window = charts.Window(
        from_step=query.from_step, to_step=query.to_step, max_points=query.max_points
    )
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id, project=caller.project)
        found = await charts.read_charts(session, job_id, window, names=query.names)
    series = {
        name: MetricSeries(steps=chart.steps, values=[json_number(v) for v in chart.values])
        for name, chart in found.items()
    }
    return answer(request, MetricsByName(series))


@router.get("/artifacts")
async def list_artifacts(
    job_id: str, caller: Reader, stores: StoresDependency
) -> list[ArtifactResource]:
    """List the files a job made."""
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id, project=caller.project)
        rows = await results.list_artifacts(session, job_id)
    return [ArtifactResource.model_validate(row) for row in rows]


@router.get("/artifacts/{name:path}", response_class=Response, responses=DOWNLOADS)
async def download_artifact(
    job_id: str, name: str, caller: Reader, stores: StoresDependency, request: Request
) -> Response:
    """Redirect to a URL from which the file can be downloaded for a while.

    Where clients cannot reach the object store it is the file itself, with `Range`.
    """
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id, project=caller.project)
        artifact = await results.find_artifact(session, job_id, name)
    file = Download(artifact.key, artifact.size_bytes, artifact.sha256, artifact.content_type)
    return await deliver(stores, request, file)
