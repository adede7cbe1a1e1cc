"""Every table, as SQLAlchemy rows. Times are UTC; sizes are bytes; ids are made by the domain."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Sequence,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.domain.states import AttemptStatus, CheckpointStatus, JobStatus, MemberStatus

Json = dict[str, Any]
Now = text("clock_timestamp()")
fence_sequence = Sequence("fences")
_NOT_FINISHED = text("status <> 'finished'")


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


class Base(DeclarativeBase):
    """Base of all rows."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {str: Text(), datetime: DateTime(timezone=True)} | dict.fromkeys(
        (Json, list[Json]), JSONB()
    )


class Job(Base):
    """What a user submitted, and where it is."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(_one_of("status", JobStatus), name="status"),
        Index(
            "ix_jobs_queue",
            text("priority DESC"),
            "created_at",
            postgresql_where=text("status = 'queued'"),
        ),
        Index("ix_jobs_project", "project", text("id DESC")),
        Index(
            *("ix_jobs_tags", "tags"),
            postgresql_using="gin",
            postgresql_ops={"tags": "jsonb_path_ops"},
        ),
        Index("ix_jobs_parent_id", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(server_default=text("'default'"))
    kind: Mapped[str]
    name: Mapped[str | None]
    spec: Mapped[Json]
    resolved: Mapped[Json | None]  # model and optimization of a train job
    tags: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    priority: Mapped[int]
    num_nodes: Mapped[int] = mapped_column(server_default=text("1"))
    num_slots: Mapped[int]  # on each node
    labels: Mapped[Json] = mapped_column(server_default=text("'{}'"))  # that its nodes must have
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))  # of a fork
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id"))
    checkpoint_id: Mapped[str | None] = mapped_column(ForeignKey("checkpoints.id", use_alter=True))
    status: Mapped[str]
    reason: Mapped[str | None]
    message: Mapped[str | None]
    stop_requested: Mapped[str | None]  # pause or cancel
    max_run_seconds: Mapped[float | None]  # over all attempts
    run_seconds: Mapped[float] = mapped_column(server_default=text("0"))  # of those that ended
    num_interventions: Mapped[int] = mapped_column(server_default=text("0"))
    num_events: Mapped[int] = mapped_column(server_default=text("0"))
    num_attempts: Mapped[int] = mapped_column(server_default=text("0"))
    step: Mapped[int | None] = mapped_column(BigInteger)
    num_steps: Mapped[int | None] = mapped_column(BigInteger)
    num_parameters: Mapped[int | None] = mapped_column(BigInteger)
    device: Mapped[Json | None]  # of the attempt that started last
    latest_metrics: Mapped[Json | None]
    result: Mapped[Json | None]
    not_before: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=Now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Node(Base):
    """A machine that runs attempts; alive while its lease has not run out."""

    __tablename__ = "nodes"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    address: Mapped[str]
    version: Mapped[str]
    slot_kind: Mapped[str]  # gpu or cpu
    num_slots: Mapped[int]  # offered now; cores beyond, and lost GPUs, are not given out again
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    disk_bytes: Mapped[int | None] = mapped_column(BigInteger)  # of the data folder
    disk_free_bytes: Mapped[int | None] = mapped_column(BigInteger)  # at the last renewal
    labels: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    protocol: Mapped[int] = mapped_column(server_default=text("1"))  # what its worker understands
    cordoned: Mapped[bool] = mapped_column(server_default=text("false"))
    lease_expires_at: Mapped[datetime]
    registered_at: Mapped[datetime] = mapped_column(server_default=Now)


class Attempt(Base):
    """One execution of a job, on one node or on several."""

    __tablename__ = "attempts"
    __table_args__ = (
        CheckConstraint(_one_of("status", AttemptStatus), name="status"),
        UniqueConstraint("job_id", "number"),
        UniqueConstraint("fence"),
        Index(
            "uq_attempts_one_live",  # two live attempts of a job cannot exist
            "job_id",
            unique=True,
            postgresql_where=_NOT_FINISHED,
        ),
        Index(
            "uq_attempts_port",
            "node_id",
            "port",
            unique=True,
            postgresql_where=_NOT_FINISHED,
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int]
    fence: Mapped[int] = mapped_column(
        BigInteger, fence_sequence, server_default=fence_sequence.next_value()
    )
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"))  # of rank 0
    port: Mapped[int | None]  # on which the nodes of a gang meet there
    status: Mapped[str]
    stop_reason: Mapped[str | None]  # its runners are to end it, for this reason
    stop_forced: Mapped[bool] = mapped_column(server_default=text("false"))
    reason: Mapped[str | None]  # the first cause of its end, known before it is finished
    message: Mapped[str | None]
    failed_node_id: Mapped[str | None] = mapped_column(ForeignKey("nodes.id"))
    device: Mapped[Json | None]  # what it computes on, as rank 0 says: name, torch, cuda
    created_at: Mapped[datetime] = mapped_column(server_default=Now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Member(Base):
    """One node's share of an attempt, alive while its lease has not run out."""

    __tablename__ = "members"
    __table_args__ = (
        CheckConstraint(_one_of("status", MemberStatus), name="status"),
        UniqueConstraint("attempt_id", "node_id"),
        Index("ix_members_live", "node_id", postgresql_where=_NOT_FINISHED),
        Index("ix_members_lease", "lease_expires_at", postgresql_where=_NOT_FINISHED),
    )

    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    node_rank: Mapped[int] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"))
    status: Mapped[str]
    lease_expires_at: Mapped[datetime]
    ready_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Slot(Base):
    """One GPU of a node, or one share of its cores; taken while it names an attempt."""

    __tablename__ = "slots"

    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)
    device: Mapped[str | None]  # UUID of a GPU or MIG slice
    offered: Mapped[bool] = mapped_column(server_default=text("true"))  # false: its GPU is lost
    attempt_id: Mapped[str | None] = mapped_column(ForeignKey("attempts.id"), index=True)


class Event(Base):
    """A stored fact about a job, numbered without gaps under the job's row lock."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str]
    data: Mapped[Json]
    at: Mapped[datetime] = mapped_column(server_default=Now)


class MetricSeries(Base):
    """A metric of a job; its id stands for both in the many rows of its values."""

    __tablename__ = "metric_series"
    __table_args__ = (UniqueConstraint("job_id", "name"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    name: Mapped[str]


class Metric(Base):
    """One value of one series at one step.

    No foreign key: checking it would cost as much as the rest of the insert.
    """

    __tablename__ = "metrics"

    series_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    value: Mapped[float]
    at: Mapped[datetime]


class MetricBlock(Base):
    """The extremes of a series in one block of steps, so that charts need not read every value."""

    __tablename__ = "metric_blocks"

    series_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    block: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    steps: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    values: Mapped[list[float]] = mapped_column(ARRAY(Double))


class Artifact(Base):
    """A stored file that people will want; the object in S3 counts because this row names it."""

    __tablename__ = "artifacts"
    __table_args__ = (UniqueConstraint("job_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"))
    name: Mapped[str]
    key: Mapped[str]
    content_type: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    step: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=Now)


class Checkpoint(Base):
    """A stored training state; files is a list of name, size_bytes and sha256 under the prefix.

    A deleted one stays as a tombstone, because jobs refer to it.
    """

    __tablename__ = "checkpoints"
    __table_args__ = (
        CheckConstraint(_one_of("status", CheckpointStatus), name="status"),
        Index(
            "uq_checkpoints_committed",
            "job_id",
            "step",
            unique=True,
            postgresql_where=text("status = 'committed'"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"))
    step: Mapped[int] = mapped_column(BigInteger)
    prefix: Mapped[str]
    files: Mapped[list[Json]]
    status: Mapped[str] = mapped_column(server_default=text("'committed'"))
    pinned: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=Now)
    changed_at: Mapped[datetime] = mapped_column(server_default=Now, onupdate=Now)

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(file["size_bytes"] for file in self.files)

    @property
    def keys(self) -> list[str]:
        """Of its objects in S3."""
        return [f"{self.prefix}/{file['name']}" for file in self.files]


class Dataset(Base):
    """A registered source of images, and after its job succeeded the prepared files."""

    __tablename__ = "datasets"
    __table_args__ = (
        CheckConstraint("status IN ('preparing', 'ready', 'failed', 'deleted')", name="status"),
        Index(  # a name is free again after its preparation failed, and after it was deleted
            "uq_datasets_name",
            "project",
            "name",
            unique=True,
            postgresql_where=text("status NOT IN ('failed', 'deleted')"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(server_default=text("'default'"))
    name: Mapped[str]
    status: Mapped[str]
    message: Mapped[str | None]
    source: Mapped[Json]
    content_hash: Mapped[str | None]
    description: Mapped[Json | None]  # dataset.json of the preparation
    prefix: Mapped[str | None]
    files: Mapped[list[Json] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=Now)


class LogChunk(Base):
    """A piece of what one rank printed, in the order of its bytes."""

    __tablename__ = "log_chunks"

    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    offset: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    text: Mapped[str]
    num_bytes: Mapped[int]


class ApiKey(Base):
    """A key to the API; what it was is not stored, only its hash."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    project: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    key_hash: Mapped[str] = mapped_column(unique=True)
    hint: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=Now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class IdempotentAnswer(Base):
    """What a POST with an idempotency key was answered, stored together with its effect."""

    __tablename__ = "idempotent_answers"

    project: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[str]
    status: Mapped[int | None]  # none only within the transaction that takes effect
    location: Mapped[str | None]
    body: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=Now, index=True)


class Doorbell(Base):
    """The outbox: a node that should look at Postgres, until the broker has been told."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=Now)


class Leader(Base):
    """The one active scheduler: the backend that holds the lock, and when it was last at work."""

    __tablename__ = "leaders"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    backend_pid: Mapped[int]
    seen_at: Mapped[datetime]
