"""Checkpoints: committed by attempts, read by jobs, pinned, set aside and given up.

Locks are taken in one order: first the job's row, then the checkpoint's.
"""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import exists, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.database import jobs
from services.database.tables import Attempt, Checkpoint, Job
from services.domain.errors import Conflict, NotFound
from services.domain.keys import StoredFile
from services.domain.states import TERMINAL, CheckpointStatus

GONE = frozenset({CheckpointStatus.DELETING, CheckpointStatus.DELETED})
_WHY_UNUSABLE = {
    CheckpointStatus.SUPERSEDED: "is superseded: training went back to before it",
    CheckpointStatus.CORRUPT: "is corrupt",
    CheckpointStatus.DELETING: "is being deleted",
    CheckpointStatus.DELETED: "was deleted",
}


async def add(
    session: AsyncSession,
    attempt: Attempt,
    *,
    checkpoint_id: str,
    step: int,
    prefix: str,
    files: Sequence[StoredFile],
) -> None:
    """Commit a checkpoint of a fenced attempt, once per (job, step)."""
    # Published again after a commit of unknown outcome, it may be on its way out already.
    is_known = exists().where(Checkpoint.attempt_id == attempt.id, Checkpoint.prefix == prefix)
    if await session.scalar(select(is_known)):
        return
    statement = insert(Checkpoint).values(
        id=checkpoint_id,
        job_id=attempt.job_id,
        attempt_id=attempt.id,
        step=step,
        prefix=prefix,
        files=[asdict(file) for file in files],
    )
    statement = statement.on_conflict_do_nothing(
        index_elements=[Checkpoint.job_id, Checkpoint.step],
        index_where=text("status = 'committed'"),
    )
    if await session.scalar(statement.returning(Checkpoint.id)) is not None:
        job = await jobs.find(session, attempt.job_id, lock=True)
        data = {"checkpoint": checkpoint_id, "step": step, "attempt": attempt.number}
        jobs.append_event(session, job, "checkpoint", data)


async def find(session: AsyncSession, checkpoint_id: str, *, lock: bool = False) -> Checkpoint:
    """Return the checkpoint, deleted or not; with lock, nobody else changes it meanwhile.

    Raises:
        NotFound: there never was one of this id.
    """
    checkpoint = await session.get(
        Checkpoint,
        checkpoint_id,
        with_for_update={"key_share": True} if lock else None,
        populate_existing=lock,
    )
    if checkpoint is None:
        raise NotFound(f"there is no checkpoint {checkpoint_id}")
    return checkpoint


async def find_in_project(session: AsyncSession, project: str, checkpoint_id: str) -> Checkpoint:
    """Return the checkpoint of a job of the project, deleted or not.

    Raises:
        NotFound: there never was one of this id there.
    """
    query = select(Checkpoint).join(Job, Job.id == Checkpoint.job_id)
    query = query.where(Checkpoint.id == checkpoint_id, Job.project == project)
    checkpoint = (await session.scalars(query)).one_or_none()
    if checkpoint is None:
        raise NotFound(f"there is no checkpoint {checkpoint_id}")
    return checkpoint


async def find_usable(session: AsyncSession, project: str, checkpoint_id: str) -> Checkpoint:
    """Return a committed checkpoint that stays one until this transaction ends.

    A job that names it and is stored by this transaction is seen by whoever wants to delete it.

    Raises:
        NotFound: there never was one of this id.
        Conflict: it cannot be used any more; the message says why.
    """
    checkpoint = await find_in_project(session, project, checkpoint_id)
    share = {"read": True}  # the foreign key's own lock would let its status change
    await session.refresh(checkpoint, with_for_update=share)
    if checkpoint.status != CheckpointStatus.COMMITTED:
        why = _WHY_UNUSABLE[CheckpointStatus(checkpoint.status)]
        raise Conflict(f"checkpoint {checkpoint_id} {why}")
    return checkpoint


async def newest(session: AsyncSession, job_id: str) -> Checkpoint | None:
    """Return the checkpoint an attempt of this job resumes from."""
    query = select(Checkpoint).where(
        Checkpoint.job_id == job_id, Checkpoint.status == CheckpointStatus.COMMITTED
    )
    return (await session.scalars(query.order_by(Checkpoint.step.desc()).limit(1))).first()


async def list_of_job(
    session: AsyncSession, job_id: str, *, status: CheckpointStatus = CheckpointStatus.COMMITTED
) -> Sequence[Checkpoint]:
    """Return the job's checkpoints with this status, oldest first."""
    query = select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.status == status)
    return (await session.scalars(query.order_by(Checkpoint.step, Checkpoint.id))).all()


async def pin(session: AsyncSession, checkpoint_id: str, *, by: str | None = None) -> Checkpoint:
    """Keep a checkpoint until it is unpinned.

    Raises:
        NotFound: there never was one of this id.
        Conflict: it is being deleted.
    """
    checkpoint, job = await _lock_with_job(session, checkpoint_id)
    if checkpoint.status in GONE:
        why = _WHY_UNUSABLE[CheckpointStatus(checkpoint.status)]
        raise Conflict(f"checkpoint {checkpoint_id} {why}")
    if not checkpoint.pinned:
        checkpoint.pinned = True
        _tell(session, job, "checkpoint_pinned", checkpoint, by=by)
    return checkpoint


async def unpin(session: AsyncSession, checkpoint_id: str, *, by: str | None = None) -> Checkpoint:
    """Leave a checkpoint to the retention policy; raises NotFound."""
    checkpoint, job = await _lock_with_job(session, checkpoint_id)
    if checkpoint.pinned:
        checkpoint.pinned = False
        _tell(session, job, "checkpoint_unpinned", checkpoint, by=by)
    return checkpoint


async def mark_corrupt(session: AsyncSession, checkpoint: Checkpoint) -> None:
    """Set aside a checkpoint whose files are not what was uploaded."""
    job = await jobs.find(session, checkpoint.job_id, lock=True)
    checkpoint = await find(session, checkpoint.id, lock=True)
    if checkpoint.status not in {CheckpointStatus.COMMITTED, CheckpointStatus.SUPERSEDED}:
        return
    checkpoint.status = CheckpointStatus.CORRUPT
    _tell(session, job, "checkpoint_corrupt", checkpoint)


async def supersede_after(session: AsyncSession, job_id: str, step: int) -> None:
    """Set aside the checkpoints after a step to which the training of a locked job goes back."""
    later = (Checkpoint.job_id == job_id, Checkpoint.step > step)
    is_committed = Checkpoint.status == CheckpointStatus.COMMITTED
    values = {"status": CheckpointStatus.SUPERSEDED}
    await session.execute(update(Checkpoint).where(*later, is_committed).values(values))


async def request_deletion(
    session: AsyncSession, checkpoint_id: str, *, by: str | None = None
) -> Checkpoint:
    """Mark a checkpoint as going, if nobody needs it; again is no error.

    Raises:
        NotFound: there never was one of this id.
        Conflict: it is pinned, read by a job that has not ended, or what its own job resumes from.
    """
    checkpoint, job = await _lock_with_job(session, checkpoint_id)
    if checkpoint.status in GONE:
        return checkpoint
    if checkpoint.pinned:
        raise Conflict(f"checkpoint {checkpoint_id} is pinned; unpin it first")
    resumed_from = await newest(session, job.id)
    if job.status not in TERMINAL and resumed_from and resumed_from.id == checkpoint_id:
        raise Conflict(f"checkpoint {checkpoint_id} is what job {job.id} resumes from")
    for reader in await list_readers(session, [checkpoint_id]):
        raise Conflict(
            f"checkpoint {checkpoint_id} is read by job {reader.id}, which has not ended"
        )
    checkpoint.status = CheckpointStatus.DELETING
    _tell(session, job, "checkpoint_deleted", checkpoint, by=by)
    return checkpoint


async def list_readers(session: AsyncSession, checkpoint_ids: Sequence[str]) -> Sequence[Job]:
    """Return the jobs that have not ended and read one of these checkpoints."""
    query = select(Job).where(
        Job.checkpoint_id.in_(checkpoint_ids), Job.status.not_in(sorted(TERMINAL))
    )
    return (await session.scalars(query.order_by(Job.id))).all()


async def _lock_with_job(session: AsyncSession, checkpoint_id: str) -> tuple[Checkpoint, Job]:
    job_id = (await find(session, checkpoint_id)).job_id
    job = await session.get_one(
        Job, job_id, with_for_update={"key_share": True}, populate_existing=True
    )
    return await find(session, checkpoint_id, lock=True), job


def _tell(
    session: AsyncSession, job: Job, type_: str, checkpoint: Checkpoint, *, by: str | None = None
) -> None:
    data = {"checkpoint": checkpoint.id, "step": checkpoint.step, "by": by}
    jobs.append_event(session, job, type_, data)
