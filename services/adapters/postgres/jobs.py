"""Jobs and their events. A status changes only through `change_status`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.adapters.postgres.clock import read_clock
from services.adapters.postgres.tables import Dataset, Event, Job
from services.domain.errors import Conflict, NotFound
from services.domain.placement import QueuedJob
from services.domain.statuses import TERMINAL, JobStatus, Reason, check_transition


async def insert(session: AsyncSession, job: Job) -> None:
    """Store a new job, queued, with its first event."""
    job.status = JobStatus.QUEUED
    job.reason = Reason.WAITING_FOR_SLOTS
    job.message = f"waits for {job.num_slots} free slot(s) on one node"
    job.num_events = 0
    session.add(job)
    await session.flush()
    append_event(session, job, "submitted", {"kind": job.kind})


async def find(session: AsyncSession, job_id: str, *, lock: bool = False) -> Job:
    """Return the job; with lock, nobody else changes it before the transaction ends.

    Raises:
        NotFound: there is no such job.
    """
    job = await session.get(Job, job_id, with_for_update=lock, populate_existing=lock)
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job


async def list_newest(
    session: AsyncSession,
    *,
    limit: int,
    before: str | None = None,
    status: JobStatus | None = None,
    kind: str | None = None,
) -> Sequence[Job]:
    """Return up to `limit` jobs, newest first, older than the job `before`."""
    query = select(Job).order_by(Job.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Job.id < before)
    if status is not None:
        query = query.where(Job.status == status)
    if kind is not None:
        query = query.where(Job.kind == kind)
    return (await session.scalars(query)).all()


async def list_placeable(session: AsyncSession) -> list[QueuedJob]:
    """Return the queued jobs whose delay is over."""
    ready = or_(Job.not_before.is_(None), Job.not_before <= func.clock_timestamp())
    query = select(Job.id, Job.num_slots, Job.priority, Job.created_at)
    rows = await session.execute(query.where(Job.status == JobStatus.QUEUED, ready))
    return [QueuedJob(*row) for row in rows]


async def list_events(session: AsyncSession, job_id: str, *, after: int) -> Sequence[Event]:
    """Return the job's events with a number above `after`, in order."""
    query = select(Event).where(Event.job_id == job_id, Event.number > after)
    return (await session.scalars(query.order_by(Event.number))).all()


async def request_cancel(session: AsyncSession, job_id: str) -> Job:
    """Cancel the job now if it is queued, else ask its runner to; again is no error.

    Raises:
        NotFound: there is no such job.
        Conflict: the job has ended otherwise.
    """
    job = await find(session, job_id, lock=True)
    if job.cancel_requested:
        return job
    if job.status in TERMINAL:
        raise Conflict(f"job {job_id} has already {job.status}")
    job.cancel_requested = True
    if job.status == JobStatus.QUEUED:
        reason, message = Reason.CANCELLED_BY_USER, "cancelled before it started"
        await change_status(session, job, JobStatus.CANCELLED, reason=reason, message=message)
    else:
        reason, message = Reason.CANCEL_REQUESTED, "stops at the next step and saves a checkpoint"
        await change_status(session, job, JobStatus.STOPPING, reason=reason, message=message)
    return job


async def change_status(
    session: AsyncSession,
    job: Job,
    target: JobStatus,
    *,
    reason: Reason | None = None,
    message: str | None = None,
    **data: Any,
) -> None:
    """Move a locked job to another status and append the event that says so.

    Raises:
        Conflict: the transition table does not allow it.
    """
    check_transition(JobStatus(job.status), target)
    job.status, job.reason, job.message = target, reason, message
    if target == JobStatus.RUNNING and job.started_at is None:
        job.started_at = await read_clock(session)
    if target in TERMINAL:
        job.finished_at = await read_clock(session)
        if job.kind == "prepare_dataset" and target != JobStatus.SUCCEEDED:
            failed = {"status": "failed", "message": message}
            await session.execute(
                update(Dataset).where(Dataset.id == job.dataset_id).values(failed)
            )
    append_event(session, job, target, {"reason": reason, "message": message, **data})


def append_event(session: AsyncSession, job: Job, type_: str, data: dict[str, Any]) -> None:
    """Append an event to a locked job; numbers have no gaps because the job is locked."""
    job.num_events += 1
    present = {name: value for name, value in data.items() if value is not None}
    session.add(Event(job_id=job.id, number=job.num_events, type=type_, data=present))


async def delay(session: AsyncSession, job: Job, seconds: float) -> None:
    """Keep a locked job from being placed for this long."""
    job.not_before = await read_clock(session, seconds_from_now=seconds)
