"""What in the store is not needed any more: marked before its files go, so nobody can use it.

A checkpoint that a transaction holds is passed over: the next run sees what became of it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Row, exists, extract, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from nvae_core.config import CheckpointPolicy
from services.database.checkpoints import list_readers
from services.database.session import in_seconds
from services.database.tables import Artifact, Attempt, Checkpoint, Dataset, Job
from services.domain.keys import attempt_of_key
from services.domain.retention import (
    GarbageReason,
    StoredCheckpoint,
    StoredCheckpoints,
    find_garbage,
)
from services.domain.states import TERMINAL, AttemptStatus, CheckpointStatus

_KEPT = (CheckpointStatus.COMMITTED, CheckpointStatus.SUPERSEDED, CheckpointStatus.CORRUPT)


async def list_jobs(session: AsyncSession, *, after: str, limit: int) -> list[str]:
    """Return the next ids of jobs with checkpoints that are not deleted."""
    query = select(Checkpoint.job_id).where(Checkpoint.status.in_(_KEPT), Checkpoint.job_id > after)
    page = query.distinct().order_by(Checkpoint.job_id).limit(limit)
    return list(await session.scalars(page))


async def describe(session: AsyncSession, job_ids: Sequence[str]) -> list[StoredCheckpoints]:
    """Return what retention has to know of these jobs."""
    is_read = exists().where(
        Job.checkpoint_id == Checkpoint.id, Job.status.not_in(sorted(TERMINAL))
    )
    seconds = extract("epoch", func.clock_timestamp() - Checkpoint.changed_at)
    query = select(
        *(Checkpoint.job_id, Checkpoint.id, Checkpoint.step, Checkpoint.status, Checkpoint.pinned),
        is_read.label("is_read"),
        seconds.label("seconds"),
    ).where(Checkpoint.job_id.in_(job_ids), Checkpoint.status.in_(_KEPT))
    checkpoints = defaultdict(list)
    for row in await session.execute(query):
        checkpoints[row.job_id].append(_stored(row))
    jobs = select(Job.id, Job.status, Job.spec["checkpoint"].label("policy"))
    return [
        StoredCheckpoints(
            job_id=job.id,
            has_ended=job.status in TERMINAL,
            policy=CheckpointPolicy.model_validate(job.policy or {}),
            checkpoints=checkpoints[job.id],
        )
        for job in await session.execute(jobs.where(Job.id.in_(job_ids)).order_by(Job.id))
    ]


def _stored(row: Row[str, str, int, str, bool, bool, int]) -> StoredCheckpoint:
    return StoredCheckpoint(
        id=row.id,
        step=row.step,
        status=CheckpointStatus(row.status),
        pinned=row.pinned,
        is_read=row.is_read,
        unchanged_seconds=float(row.seconds),
    )


async def lock_garbage(
    session: AsyncSession, job_id: str, *, grace_seconds: float
) -> list[tuple[Checkpoint, GarbageReason]]:
    """Return the checkpoints of a job that are not needed, locked, and why each is not.

    The job's row is locked, so training cannot go back to before them meanwhile; each checkpoint is
    locked before its readers are looked up, so a job that reads it is seen, or sees the mark.
    """
    lock_job = select(Job.id).where(Job.id == job_id)
    if await session.scalar(lock_job.with_for_update(key_share=True, skip_locked=True)) is None:
        return []
    [stored] = await describe(session, [job_id])
    reasons = find_garbage(stored, grace_seconds=grace_seconds)
    query = select(Checkpoint).where(
        Checkpoint.id.in_(reasons), Checkpoint.status.in_(_KEPT), Checkpoint.pinned.is_(False)
    )
    locked = query.order_by(Checkpoint.step).with_for_update(key_share=True, skip_locked=True)
    checkpoints = (await session.scalars(locked)).all()
    readers = await list_readers(session, [checkpoint.id for checkpoint in checkpoints])
    read = {reader.checkpoint_id for reader in readers}
    return [(found, reasons[found.id]) for found in checkpoints if found.id not in read]


async def mark(session: AsyncSession, checkpoint_ids: Sequence[str]) -> None:
    """Mark checkpoints that this transaction has locked as going."""
    statement = update(Checkpoint).where(Checkpoint.id.in_(checkpoint_ids))
    await session.execute(statement.values(status=CheckpointStatus.DELETING))


async def list_marked(session: AsyncSession, *, after: str, limit: int) -> Sequence[Checkpoint]:
    """Return the next checkpoints whose files have to go."""
    query = select(Checkpoint).where(
        Checkpoint.status == CheckpointStatus.DELETING, Checkpoint.id > after
    )
    return (await session.scalars(query.order_by(Checkpoint.id).limit(limit))).all()


async def bury(session: AsyncSession, checkpoint_id: str) -> None:
    """Make a tombstone of a checkpoint whose files are gone."""
    is_marked = Checkpoint.status == CheckpointStatus.DELETING
    statement = update(Checkpoint).where(Checkpoint.id == checkpoint_id, is_marked)
    await session.execute(statement.values(status=CheckpointStatus.DELETED))


async def find_left(
    session: AsyncSession, keys: Sequence[str], *, grace_seconds: float
) -> set[str]:
    """Return those of the keys whose attempt ended so long ago that it writes no row any more.

    An attempt that is not known here may be that of another installation: its keys stay.
    """
    owners = {key: owner for key in keys if (owner := attempt_of_key(key)) is not None}
    query = select(Attempt.job_id, Attempt.number).where(
        tuple_(Attempt.job_id, Attempt.number).in_(set(owners.values())),
        Attempt.status == AttemptStatus.FINISHED,
        Attempt.finished_at <= in_seconds(-grace_seconds),
    )
    ended = {(row.job_id, row.number) for row in await session.execute(query)}
    return {key for key, owner in owners.items() if owner in ended}


async def find_unnamed(session: AsyncSession, left: Iterable[str]) -> set[str]:
    """Return those of the keys of attempts that have ended that no row names."""
    owners = {key: owner for key in left if (owner := attempt_of_key(key)) is not None}
    job_ids = {owner.job_id for owner in owners.values()}
    artifacts = select(Artifact.key).where(Artifact.job_id.in_(job_ids))
    named = set(await session.scalars(artifacts.where(Artifact.key.in_(owners))))
    is_there = Checkpoint.status != CheckpointStatus.DELETED
    checkpoints = select(Checkpoint.prefix).where(Checkpoint.job_id.in_(job_ids), is_there)
    datasets = select(Dataset.prefix).where(
        Dataset.prefix.is_not(None), Dataset.status != "deleted"
    )
    prefixes = {*await session.scalars(checkpoints), *await session.scalars(datasets)}
    return {key for key in owners.keys() - named if _folders(key).isdisjoint(prefixes)}


def _folders(key: str) -> set[str]:
    parts = key.split("/")
    return {"/".join(parts[:count]) for count in range(1, len(parts))}
