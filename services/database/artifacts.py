"""Files that jobs made; every write comes after `attempts.fenced` in the same transaction."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.database import jobs
from services.database.tables import Artifact, Attempt, Job
from services.domain.errors import NotFound


async def add(session: AsyncSession, attempt: Attempt, artifact: Artifact) -> None:
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
    job = await jobs.find(session, attempt.job_id, lock=True)
    data = {"name": artifact.name, "step": artifact.step, "attempt": attempt.number}
    jobs.append_event(session, job, "artifact", data)


async def list_of_job(session: AsyncSession, job_id: str) -> Sequence[Artifact]:
    """Return the job's artifacts by name."""
    query = select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)
    return (await session.scalars(query)).all()


async def find(session: AsyncSession, job_id: str, name: str) -> Artifact:
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
