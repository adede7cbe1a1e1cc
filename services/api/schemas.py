"""What the API answers, as JSON shapes."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator

from nvae_core.config import Config
from services.adapters.postgres.charts import MIN_POINTS
from services.adapters.postgres.nodes import PROTOCOL
from services.adapters.postgres.tables import Attempt, Job, Node
from services.domain.statuses import CheckpointStatus, JobStatus
from services.domain.submission import MaxRunSeconds, Name, Priority, Tags


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
    queue_position: int | None  # of a queued job, where it alone is asked for
    num_nodes: int
    num_slots: int
    parent_id: str | None
    progress: Progress
    latest_metrics: dict[str, JsonValue] | None
    num_parameters: int | None
    result: dict[str, JsonValue] | None
    num_attempts: int
    max_run_seconds: float | None
    run_seconds: float
    dataset_id: str | None
    checkpoint_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job, *, queue_position: int | None = None) -> Self:
        """Return the resource of a stored job."""
        others = {"progress", "queue_position"}
        values = {name: getattr(job, name) for name in cls.model_fields if name not in others}
        progress = Progress(step=job.step, num_steps=job.num_steps)
        return cls.model_validate(values | {"progress": progress, "queue_position": queue_position})


class JobPage(BaseModel):
    """Jobs, newest first; `next_cursor` continues the list, and is null at its end."""

    jobs: list[JobResource]
    next_cursor: str | None


class JobChanges(Config):
    """What may be changed of a job; what is left out stays."""

    name: Name | None = None
    tags: Tags = {}
    priority: Priority = 50
    max_run_seconds: MaxRunSeconds | None = None


class CancelOptions(Config):
    """How to cancel a job."""

    force: bool = False


class AttemptResource(_Resource):
    """One execution of a job, on one node or on several; the first is rank 0's."""

    id: str
    number: int
    node_ids: list[str]
    status: str
    stop_reason: str | None
    reason: str | None
    message: str | None
    failed_node_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, attempt: Attempt, *, node_ids: list[str]) -> Self:
        """Return the resource of a stored attempt."""
        values = {name: getattr(attempt, name) for name in cls.model_fields if name != "node_ids"}
        return cls.model_validate(values | {"node_ids": node_ids})


class EventResource(_Resource):
    """A stored fact about a job; numbers have no gaps."""

    number: int
    type: str
    data: dict[str, Any]
    at: datetime


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
    """A checkpoint; while committed it can be evaluated, sampled and resumed from."""

    id: str
    job_id: str
    step: int
    status: CheckpointStatus
    pinned: bool
    size_bytes: int
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
    address: str
    labels: dict[str, str]
    memory_bytes: int | None
    slot_kind: str
    num_slots: int
    num_free_slots: int
    version: str
    usable: bool  # its worker and this service understand each other
    lease_expires_at: datetime

    @classmethod
    def of(cls, node: Node, *, num_free_slots: int, now: datetime) -> Self:
        """Return the resource of a stored node."""
        return cls(
            id=node.id,
            name=node.name,
            alive=node.lease_expires_at > now,
            cordoned=node.cordoned,
            address=node.address,
            labels=node.labels,
            memory_bytes=node.memory_bytes,
            slot_kind=node.slot_kind,
            num_slots=node.num_slots,
            num_free_slots=num_free_slots,
            version=node.version,
            usable=node.protocol == PROTOCOL,
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
