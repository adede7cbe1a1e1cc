"""Jobs as JSON."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, JsonValue, StrictBool, StringConstraints

from nvae_core.config import Config
from services.api.dependencies import Moment, Resource
from services.database.tables import Attempt, Job
from services.domain.specs import MaxRunSeconds, Name, Priority, Tags
from services.domain.states import JobStatus


class Progress(BaseModel):
    """How far a job is; for training a step is one optimizer update."""

    step: int | None
    num_steps: int | None


class Device(BaseModel):
    """What rank 0 computes on; `cuda` is null on a CPU, or where torch has none."""

    name: str
    torch: str | None = None
    cuda: str | None = None


class JobResource(Resource):
    """A job: where it is (status), why (reason, message), how far, and what came out."""

    id: Annotated[str, Field(examples=["job_019c5f0a4c7e7d8fa1b2c3d4e5f60718"])]
    project: str
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
    device: Device | None  # of the attempt that started last
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


class JobsQuery(Config):
    """Which jobs, and how many at once."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(max_length=200)] | None = None
    status: JobStatus | None = None
    kind: Name | None = None
    preset: Name | None = None
    name: Name | None = None
    tag: Annotated[
        list[Annotated[str, StringConstraints(pattern=r"^[^:\x00]+:[^\x00]*$", max_length=400)]],
        Field(max_length=32, description="`key:value`; a job has all of them"),
    ] = []
    parent: Name | None = None
    created_after: Moment | None = None

    def tags(self) -> dict[str, str]:
        """Return the tags by key."""
        return dict(tag.split(":", 1) for tag in self.tag)


class JobChanges(Config):
    """What may be changed of a job; what is left out stays."""

    name: Name | None = None
    tags: Tags = {}
    priority: Priority = 50
    max_run_seconds: MaxRunSeconds | None = None


class CancelOptions(Config):
    """How to cancel a job."""

    force: StrictBool = False


class AttemptResource(Resource):
    """One execution of a job, on one node or on several; the first is rank 0's."""

    id: str
    number: int
    node_ids: list[str]
    status: str
    stop_reason: str | None
    reason: str | None
    message: str | None
    failed_node_id: str | None
    device: Device | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, attempt: Attempt, *, node_ids: list[str]) -> Self:
        """Return the resource of a stored attempt."""
        values = {name: getattr(attempt, name) for name in cls.model_fields if name != "node_ids"}
        return cls.model_validate(values | {"node_ids": node_ids})


class EventResource(Resource):
    """A stored fact about a job; numbers have no gaps."""

    number: int
    type: str
    data: dict[str, Any]
    at: datetime
