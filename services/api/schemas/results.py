"""What jobs leave, as JSON."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from services.adapters.postgres.charts import MIN_POINTS
from services.api.schemas.base import Resource
from services.domain.statuses import CheckpointStatus


class MetricsQuery(BaseModel):
    """Which metrics of a job, and how much of them; both steps are included."""

    names: list[str] = []
    from_step: Annotated[int, Field(ge=0, lt=2**63)] = 0
    to_step: Annotated[int, Field(ge=0, lt=2**63)] = 2**63 - 1
    max_points: Annotated[int, Field(ge=MIN_POINTS, le=10_000)] = 1000  # of each metric

    @field_validator("to_step")
    @classmethod
    def _check_order(cls, to_step: int, given: ValidationInfo) -> int:
        if to_step < given.data.get("from_step", 0):
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
