"""What jobs leave: logs, metrics and artifacts."""

import re
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field, RootModel, ValidationInfo, field_validator

from services.api.auth import Reader
from services.api.dependencies import (
    EVENT_STREAM,
    LastEventId,
    Resource,
    StoresDependency,
    WantsStream,
)
from services.api.downloads import Download, deliver
from services.api.errors import Problem, Responses
from services.api.http_cache import answer
from services.api.streaming import follow_log, stream
from services.database import artifacts, jobs, logs, metrics
from services.database.logs import LogPlace
from services.database.metrics import MIN_POINTS, json_number

log_router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])
_PLACE = re.compile(r"([0-9]{1,9})-([0-9]{1,15})")
router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])
DOWNLOADS: Responses = {
    200: {"content": {"application/octet-stream": {}}, "description": "The file itself."},
    206: {"content": {"application/octet-stream": {}}, "description": "The range asked for."},
    304: {"description": "It is the file that you have."},
    307: {"description": "Where it can be downloaded for a while."},
    416: {"model": Problem, "description": "The file is shorter."},
}


@log_router.get(
    "/logs",
    response_class=PlainTextResponse,
    responses={200: {"content": {EVENT_STREAM: {}}, "description": "Lines, or a stream of them."}},
)
async def show_log(
    *,
    job_id: str,
    caller: Reader,
    stores: StoresDependency,
    wants_stream: WantsStream,
    last_event_id: LastEventId = None,
    rank: Annotated[int, Query(ge=0, lt=2**20)] = 0,
    attempt: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    tail: Annotated[int, Query(ge=0, le=10_000)] = 200,
) -> Response:
    """Show the last lines that a rank printed, in the newest attempt or in a given one.

    With `Accept: text/event-stream` they are followed by what comes, until the job has ended; each
    event has attempt, rank, offset and text, and `Last-Event-ID` says where to go on.
    """
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id, project=caller.project)
        number = attempt or await logs.newest_attempt(session, job_id, rank=rank)
        text = ""
        if number is not None and not wants_stream:
            log_tail = await logs.read_tail(
                session, job_id, attempt=number, rank=rank, num_lines=tail
            )
            text = log_tail.text
    if not wants_stream:
        return PlainTextResponse(text)
    match = _PLACE.fullmatch(last_event_id or "")
    place = LogPlace(int(match[1]), int(match[2])) if match else None
    return stream(follow_log(stores, job_id, rank=rank, place=place, num_lines=tail))


class MetricsQuery(BaseModel):
    """Which metrics of a job, and how much of them; both steps are included."""

    names: list[str] = []
    from_step: Annotated[int, Field(ge=0, lt=2**63)] = 0
    to_step: Annotated[int, Field(ge=0, lt=2**63)] = 2**63 - 1
    max_points: Annotated[int, Field(ge=MIN_POINTS, le=10_000)] = 1000  # of each metric

    @field_validator("to_step")
    @classmethod
    def _check_order(cls, to_step: int, info: ValidationInfo) -> int:
        if to_step < info.data.get("from_step", 0):
            raise ValueError("must not be below from_step")
        return to_step


class MetricSeries(BaseModel):
    """Values of one metric by step; one that is not finite is "NaN" or "Infinity"."""

    steps: list[int]
    values: list[float | str]


class FileResource(Resource):
    """A file of a checkpoint or data set."""

    name: str
    size_bytes: int
    sha256: str


class ArtifactResource(FileResource):
    """A file that a job made."""

    id: str
    content_type: str
    step: int | None
    created_at: datetime


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
    window = metrics.Window(
        from_step=query.from_step, to_step=query.to_step, max_points=query.max_points
    )
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id, project=caller.project)
        charts = await metrics.read_charts(session, job_id, window, names=query.names)
    series = {
        name: MetricSeries(steps=chart.steps, values=[json_number(v) for v in chart.values])
        for name, chart in charts.items()
    }
    return answer(request, MetricsByName(series))


@router.get("/artifacts")
async def list_artifacts(
    job_id: str, caller: Reader, stores: StoresDependency
) -> list[ArtifactResource]:
    """List the files a job made."""
    async with stores.database.transaction() as session:
        await jobs.find(session, job_id, project=caller.project)
        rows = await artifacts.list_of_job(session, job_id)
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
        artifact = await artifacts.find(session, job_id, name)
    file = Download(artifact.key, artifact.size_bytes, artifact.sha256, artifact.content_type)
    return await deliver(stores, request, file)
