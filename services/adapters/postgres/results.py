"""What attempts leave behind: metrics, artifacts, prepared data sets; checkpoints are beside.

Every write here comes after `attempts.fenced` in the same transaction.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncSession

from nvae_core.run_directory import NoticeLine
from services.adapters.postgres import jobs, metrics
from services.adapters.postgres.metrics import MetricValues
from services.adapters.postgres.tables import Artifact, Attempt, Dataset, Event, Job, LogChunk
from services.domain.errors import NotFound

MAX_LOG_BYTES = 16 * 2**20  # of one rank and attempt; the whole is on the node


@dataclass(frozen=True)
class StoredFile:
    """A file in S3, named relative to its prefix."""

    name: str
    size_bytes: int
    sha256: str


async def add_metrics(
    session: AsyncSession, attempt: Attempt, measured: Sequence[MetricValues]
) -> None:
    """Store values, one row per (job, name, step), and show the newest on the job."""
    if not measured:
        return
    await metrics.store(session, attempt.job_id, measured)
    job = await jobs.find(session, attempt.job_id, lock=True)
    job.step = measured[-1].step
    # Not every name is in every line: validation comes by itself, and less often.
    latest = {name: value for point in measured for name, value in point.values.items()}
    shown = {name: json_number(value) for name, value in latest.items()}
    job.latest_metrics = {**(job.latest_metrics or {}), **shown}


async def set_totals(
    session: AsyncSession, attempt: Attempt, *, num_steps: int, num_parameters: int | None
) -> None:
    """Show on the job how far it has to go."""
    job = await jobs.find(session, attempt.job_id, lock=True)
    job.num_steps, job.num_parameters = num_steps, num_parameters


async def add_artifact(session: AsyncSession, attempt: Attempt, artifact: Artifact) -> None:
    """Store an artifact; one of the same name by an earlier attempt is replaced."""
    values = {
        column.name: getattr(artifact, column.name)
        for column in Artifact.__table__.columns
        if column.name != "created_at"
    }
    statement = insert(Artifact).values(values)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[Artifact.job_id, Artifact.name],
            set_={name: statement.excluded[name] for name in values if name != "id"}
            | {"created_at": func.clock_timestamp()},
        )
    )
    await _tell(session, attempt, "artifact", {"name": artifact.name, "step": artifact.step})


async def add_notice(session: AsyncSession, attempt: Attempt, line: NoticeLine) -> None:
    """Tell what happened that did not end the run; once, however often it is published."""
    job = await jobs.find(session, attempt.job_id, lock=True)
    data = {"name": line.name, "message": line.message, "step": line.step}
    data["attempt"] = attempt.number
    present = {name: value for name, value in data.items() if value is not None}
    told = select(Event.number).where(
        Event.job_id == job.id, Event.type == "notice", Event.data == present
    )
    if await session.scalar(told.limit(1)) is None:
        jobs.append_event(session, job, "notice", present)


async def add_log(
    session: AsyncSession, attempt: Attempt, *, rank: int, offset: int, text: str
) -> None:
    """Store a piece of what a rank printed; again is no error. Of a long log the newest stays."""
    size = len(text.encode())
    row = {"attempt_id": attempt.id, "rank": rank, "offset": offset, "text": text}
    statement = insert(LogChunk).values(**row, num_bytes=size)
    await session.execute(statement.on_conflict_do_nothing())
    first_kept = offset + size - MAX_LOG_BYTES
    if first_kept > 0:
        own = (LogChunk.attempt_id == attempt.id, LogChunk.rank == rank)
        old = LogChunk.offset + LogChunk.num_bytes <= first_kept
        await session.execute(delete(LogChunk).where(*own, old))


async def publish_dataset(
    session: AsyncSession,
    dataset_id: str,
    *,
    description: dict[str, Any],
    prefix: str,
    files: Sequence[StoredFile],
) -> None:
    """Make a prepared data set ready for use."""
    await session.execute(
        update(Dataset)
        .where(Dataset.id == dataset_id)
        .values(
            status="ready",
            description=description,
            content_hash=description["content_hash"],
            prefix=prefix,
            files=[asdict(file) for file in files],
        )
    )


async def list_artifacts(session: AsyncSession, job_id: str) -> Sequence[Artifact]:
    """Return the job's artifacts by name."""
    query = select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)
    return (await session.scalars(query)).all()


async def find_artifact(session: AsyncSession, job_id: str, name: str) -> Artifact:
    """Return the job's artifact of this name, or raise NotFound."""
    query = select(Artifact).where(Artifact.job_id == job_id, Artifact.name == name)
    artifact = (await session.scalars(query)).one_or_none()
    if artifact is None:
        raise NotFound(f"job {job_id} has no artifact {name!r}")
    return artifact


async def find_statistics(
    session: AsyncSession, checkpoint_id: str, names: Sequence[str]
) -> Sequence[Artifact]:
    """Return the newest artifact of each of these names that a job left of a checkpoint."""
    query = (
        select(Artifact)
        .join(Job, Job.id == Artifact.job_id)
        .where(Job.checkpoint_id == checkpoint_id, Artifact.name.in_(names))
        .ext(distinct_on(Artifact.name))
        .order_by(Artifact.name, Artifact.created_at.desc())
    )
    return (await session.scalars(query)).all()


def json_number(value: float) -> float | str:
    """Return the value, or its name where JSON has no number for it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


async def _tell(session: AsyncSession, attempt: Attempt, type_: str, data: dict[str, Any]) -> None:
    job = await jobs.find(session, attempt.job_id, lock=True)
    jobs.append_event(session, job, type_, {**data, "attempt": attempt.number})
