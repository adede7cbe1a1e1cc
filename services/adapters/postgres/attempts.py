"""Attempts: placed by the scheduler, claimed by a worker, written to only behind the fence."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.adapters.postgres import jobs
from services.adapters.postgres.clock import in_seconds, read_clock
from services.adapters.postgres.database import Database, notify_queue
from services.adapters.postgres.tables import (
    Attempt,
    Checkpoint,
    Doorbell,
    Job,
    Slot,
)
from services.domain.errors import Conflict, LeaseLost
from services.domain.placement import Placement
from services.domain.retry import retry_delay_seconds
from services.domain.statuses import AttemptStatus, JobStatus, Reason


@dataclass(frozen=True)
class Ending:
    """How an attempt ended, in the words users will read."""

    reason: Reason
    message: str
    result: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Take out what Postgres cannot store: logs may hold anything."""
        clean = self.message.replace("\0", "").encode(errors="replace").decode()
        object.__setattr__(self, "message", clean)


async def place(
    session: AsyncSession, placement: Placement, *, attempt_id: str, claim_timeout_seconds: float
) -> Attempt | None:
    """Give the job its slots and ring its node; None if the job is not queued any more.

    Raises:
        Conflict: a slot is not free any more; the caller rolls back.
    """
    job = await jobs.find(session, placement.job_id, lock=True)
    if job.status != JobStatus.QUEUED:
        return None
    job.num_attempts += 1
    attempt = Attempt(
        id=attempt_id,
        job_id=job.id,
        number=job.num_attempts,
        node_id=placement.node_id,
        status=AttemptStatus.PLACED,
        lease_expires_at=in_seconds(claim_timeout_seconds),
    )
    session.add(attempt)
    await session.flush()
    free = (Slot.node_id == placement.node_id, Slot.attempt_id.is_(None))
    taken = await session.scalars(
        update(Slot)
        .where(*free, Slot.index.in_(placement.slots))
        .values(attempt_id=attempt_id)
        .returning(Slot.index)
    )
    if len(taken.all()) != len(placement.slots):
        raise Conflict(f"slots of {placement.node_id} were taken meanwhile")
    data: dict[str, Any] = {"attempt": attempt.number, "node": placement.node_id}
    await jobs.change_status(session, job, JobStatus.STARTING, **data)
    session.add(Doorbell(node_id=placement.node_id))
    return attempt


async def claim(session: AsyncSession, node_id: str, *, lease_seconds: float) -> Sequence[Attempt]:
    """Take what was placed on this node; each attempt is returned to one caller only."""
    statement = (
        update(Attempt)
        .where(Attempt.node_id == node_id, Attempt.status == AttemptStatus.PLACED)
        .values(status=AttemptStatus.CLAIMED, lease_expires_at=in_seconds(lease_seconds))
        .returning(Attempt)
    )
    return (await session.scalars(statement)).all()


async def fenced(session: AsyncSession, attempt_id: str, fence: int) -> Attempt:
    """Return the attempt, locked, if this runner still owns it: the first statement of a write.

    Raises:
        LeaseLost: the attempt ended, or another runner owns it.
    """
    query = select(Attempt).where(
        Attempt.id == attempt_id,
        Attempt.fence == fence,
        Attempt.status.in_((AttemptStatus.CLAIMED, AttemptStatus.RUNNING)),
    )
    attempt = (await session.scalars(query.with_for_update())).one_or_none()
    if attempt is None:
        raise LeaseLost(f"attempt {attempt_id} with fence {fence} is not live")
    return attempt


@asynccontextmanager
async def fenced_write(
    database: Database, attempt_id: str, fence: int
) -> AsyncIterator[tuple[AsyncSession, Attempt]]:
    """One transaction on behalf of an attempt, with its locked row.

    Raises:
        LeaseLost: as in `fenced`; nothing was written.
        DatabaseUnavailable: nothing was committed, or nobody can tell whether it was.
    """
    async with database.transaction() as session:
        yield session, await fenced(session, attempt_id, fence)


async def close_if_live(database: Database, attempt_id: str, fence: int, ending: Ending) -> None:
    """End the attempt, unless it has ended otherwise meanwhile."""
    with suppress(LeaseLost):
        async with fenced_write(database, attempt_id, fence) as (session, attempt):
            await close(session, attempt, ending)


async def renew(
    session: AsyncSession, attempt_id: str, fence: int, *, lease_seconds: float
) -> bool:
    """Extend the lease; return whether the user wants the job to stop.

    Raises:
        LeaseLost: as in `fenced`.
    """
    attempt = await fenced(session, attempt_id, fence)
    attempt.lease_expires_at = in_seconds(lease_seconds)
    cancel_requested = select(Job.cancel_requested).where(Job.id == attempt.job_id)
    return bool(await session.scalar(cancel_requested))


async def start(session: AsyncSession, attempt: Attempt) -> None:
    """Record that the trainer of a fenced attempt starts now."""
    attempt.status = AttemptStatus.RUNNING
    attempt.started_at = await read_clock(session)
    job = await jobs.find(session, attempt.job_id, lock=True)
    if job.status == JobStatus.STARTING:  # not if a cancel came in between
        await jobs.change_status(session, job, JobStatus.RUNNING, attempt=attempt.number)


async def list_expired(session: AsyncSession) -> Sequence[Attempt]:
    """Return the live attempts whose lease has run out, locked."""
    query = select(Attempt).where(
        Attempt.status != AttemptStatus.FINISHED,
        Attempt.lease_expires_at < func.clock_timestamp(),
    )
    return (await session.scalars(query.with_for_update(skip_locked=True))).all()


async def close(session: AsyncSession, attempt: Attempt, ending: Ending) -> None:
    """End a locked attempt, free its slots, and move its job to where the reason leads."""
    attempt.status = AttemptStatus.FINISHED
    attempt.reason, attempt.message = ending.reason, ending.message
    attempt.finished_at = await read_clock(session)
    await session.execute(update(Slot).where(Slot.attempt_id == attempt.id).values(attempt_id=None))
    job = await jobs.find(session, attempt.job_id, lock=True)
    await _move_job(session, job, attempt, ending)
    await notify_queue(session)


async def _move_job(session: AsyncSession, job: Job, attempt: Attempt, ending: Ending) -> None:
    target, reason, message = JobStatus.FAILED, ending.reason, ending.message
    data: dict[str, Any] = {"attempt": attempt.number}
    if ending.reason == Reason.SUCCEEDED:
        target, job.result = JobStatus.SUCCEEDED, ending.result
    elif job.cancel_requested:
        target, reason = JobStatus.CANCELLED, Reason.CANCELLED_BY_USER
    elif (seconds := await _retry_delay_seconds(session, job, attempt, ending)) is not None:
        await jobs.delay(session, job, seconds)
        target, reason = JobStatus.QUEUED, Reason.WAITING_FOR_RETRY
        message = f"attempt {attempt.number} ended: {ending.message}; next in {seconds:.0f} s"
        data["attempt_reason"] = ending.reason
    await jobs.change_status(session, job, target, reason=reason, message=message, **data)


async def _retry_delay_seconds(
    session: AsyncSession, job: Job, attempt: Attempt, ending: Ending
) -> float | None:
    earlier = await _reasons_since_checkpoint(session, attempt)
    has_trained = job.step is not None
    return retry_delay_seconds(ending.reason, earlier=earlier, has_trained=has_trained)


async def _reasons_since_checkpoint(session: AsyncSession, attempt: Attempt) -> list[Reason]:
    newest = (
        select(func.max(Checkpoint.created_at))
        .where(Checkpoint.job_id == attempt.job_id)
        .scalar_subquery()
    )
    query = select(Attempt.reason).where(
        Attempt.job_id == attempt.job_id,
        Attempt.id != attempt.id,
        Attempt.reason.is_not(None),
        func.coalesce(Attempt.finished_at > newest, True),
    )
    return [Reason(reason) for reason in await session.scalars(query) if reason]


async def slots_of(session: AsyncSession, attempt_id: str) -> tuple[int, ...]:
    """Return the indices of the slots the attempt holds on its node."""
    query = select(Slot.index).where(Slot.attempt_id == attempt_id).order_by(Slot.index)
    return tuple(await session.scalars(query))


async def list_all(session: AsyncSession, job_id: str) -> Sequence[Attempt]:
    """Return the attempts of a job, oldest first."""
    query = select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)
    return (await session.scalars(query)).all()
