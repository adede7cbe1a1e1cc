"""What the API answers, as JSON shapes."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from services.adapters.postgres.tables import Job, Node
from services.domain.statuses import JobStatus


class _Resource(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Progress(BaseModel):
    """How far a job is; for training a step is one optimizer update."""

    step: int | None
    num_steps: int | None


class JobResource(_Resource):
    """A job: where it is (status), why (reason, message), how far, and what came out."""

    id: Annotated[str, Field(examples=["job_019c5f0a4c7e7d8fa1b2c3d4e5f60718"])]
    kind: str
    name: str | None
    status: JobStatus
    reason: str | None
    message: str | None
    spec: dict[str, JsonValue]
    tags: dict[str, str]
    priority: int
    progress: Progress
    latest_metrics: dict[str, JsonValue] | None
    num_parameters: int | None
    result: dict[str, JsonValue] | None
    num_attempts: int
    dataset_id: str | None
    checkpoint_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return the resource of a stored job."""
        values = {name: getattr(job, name) for name in cls.model_fields if name != "progress"}
        progress = Progress(step=job.step, num_steps=job.num_steps)
        return cls.model_validate(values | {"progress": progress})


class JobPage(BaseModel):
    """Jobs, newest first; `next_cursor` continues the list, and is null at its end."""

    jobs: list[JobResource]
    next_cursor: str | None


class AttemptResource(_Resource):
    """One execution of a job."""

    id: str
    number: int
    node_id: str
    status: str
    reason: str | None
    message: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class EventResource(_Resource):
    """A stored fact about a job; numbers have no gaps."""

    number: int
    type: str
    data: dict[str, Any]
    at: datetime


class MetricSeries(BaseModel):
    """Values of one metric by step; one that is not finite is "NaN" or "Infinity"."""

    steps: list[int]
    values: list[float | str]


class FileResource(_Resource):
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


class CheckpointResource(_Resource):
    """A checkpoint that can be evaluated, sampled and resumed from."""

    id: str
    job_id: str
    step: int
    files: list[FileResource]
    created_at: datetime


class DatasetResource(_Resource):
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


class PresetResource(BaseModel):
    """A named model and optimization."""

    name: str
    description: str
    model: dict[str, JsonValue]
    optimization: dict[str, JsonValue]


class NodeResource(BaseModel):
    """A machine that runs jobs."""

    id: str
    name: str
    alive: bool
    cordoned: bool
    slot_kind: str
    num_slots: int
    num_free_slots: int
    version: str
    lease_expires_at: datetime

    @classmethod
    def of(cls, node: Node, *, num_free_slots: int, now: datetime) -> Self:
        """Return the resource of a stored node."""
        return cls(
            id=node.id,
            name=node.name,
            alive=node.lease_expires_at > now,
            cordoned=node.cordoned,
            slot_kind=node.slot_kind,
            num_slots=node.num_slots,
            num_free_slots=num_free_slots,
            version=node.version,
            lease_expires_at=node.lease_expires_at,
        )


class ErrorDetail(BaseModel):
    """What is wrong with one field."""

    pointer: Annotated[str, Field(examples=["/overrides/optimization.epochs"])]
    message: str


class Problem(BaseModel):
    """An error, as a problem document of RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None = None
    errors: list[ErrorDetail] = []
