"""What users and operators want of jobs: cancel, pause, resume, change, drain.

`by` is the key that asked; it is kept in the event, for events are the audit. A job of another
project than `project` is not found.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.database import attempts, completion, jobs
from services.database.completion import Outcome
from services.database.session import notify_queue
from services.database.tables import Attempt, Job, Member
from services.domain.errors import Conflict
from services.domain.states import TERMINAL, JobStatus, MemberStatus, Reason, StopRequest

_UNSTARTED = {
    StopRequest.PAUSE: (JobStatus.PAUSED, Reason.PAUSED_BY_USER, "paused before it started"),
    StopRequest.CANCEL: (JobStatus.CANCELLED, Reason.CANCELLED_BY_USER, "cancelled while waiting"),
}
_STOPPING = {
    StopRequest.PAUSE: (Reason.PAUSE_REQUESTED, Reason.PAUSED_BY_USER),
    StopRequest.CANCEL: (Reason.CANCEL_REQUESTED, Reason.CANCELLED_BY_USER),
}


async def cancel(
    session: AsyncSession,
    job_id: str,
    *,
    forced: bool = False,
    project: str | None = None,
    by: str | None = None,
) -> Job:
    """Cancel the job now if it is not running, else ask its runners to; again is no error.

    Raises:
        NotFound: there is no such job.
        Conflict: the job has ended otherwise.
    """
    job = await jobs.find(session, job_id, lock=True, project=project)
    if job.status == JobStatus.CANCELLED:
        return job
    return await _stop(session, job, StopRequest.CANCEL, forced=forced, by=by)


async def pause(
    session: AsyncSession, job_id: str, *, project: str | None = None, by: str | None = None
) -> Job:
    """Take the job from its nodes and from the queue until it is resumed; again is no error.

    Raises:
        NotFound: there is no such job.
        Conflict: the job has ended, or is being cancelled.
    """
    job = await jobs.find(session, job_id, lock=True, project=project)
    if job.status == JobStatus.PAUSED:
        return job
    if job.stop_requested == StopRequest.CANCEL:
        raise Conflict(f"job {job_id} is being cancelled")
    return await _stop(session, job, StopRequest.PAUSE, forced=False, by=by)


async def _stop(
    session: AsyncSession, job: Job, request: StopRequest, *, forced: bool, by: str | None
) -> Job:
    if job.status in TERMINAL:
        raise Conflict(_has_ended(job))
    is_new = job.stop_requested != request
    job.stop_requested = request
    if job.status in {JobStatus.QUEUED, JobStatus.PAUSED}:
        target, reason, message = _UNSTARTED[request]
        await jobs.change_status(session, job, target, reason=reason, message=message, by=by)
        return job
    attempt = await attempts.find_live(session, job.id)
    assert attempt is not None  # a job that is starting, running or stopping has one
    shown, ended = _STOPPING[request]
    if is_new and job.status != JobStatus.STOPPING:
        message = "is killed" if forced else "stops at the next step and saves a checkpoint"
        await jobs.change_status(
            session, job, JobStatus.STOPPING, reason=shown, message=message, by=by
        )
    elif is_new:  # a pause has become a cancel
        job.reason = shown
        jobs.append_event(session, job, "cancel_requested", {"by": by})
    await attempts.request_stop(session, attempt, ended, forced=forced)
    outcome = Outcome(ended, "stopped before the trainer started")
    await completion.release_unclaimed(session, attempt, outcome)
    return job


async def resume(
    session: AsyncSession, job_id: str, *, project: str | None = None, by: str | None = None
) -> Job:
    """Put a paused job back into the queue; a job that was not paused any more is no error.

    Raises:
        NotFound: there is no such job.
        Conflict: the job has ended, or still stops.
    """
    job = await jobs.find(session, job_id, lock=True, project=project)
    if job.status in TERMINAL:
        raise Conflict(f"{_has_ended(job)}; fork it to go on from a checkpoint")
    if job.status == JobStatus.STOPPING:
        raise Conflict(f"job {job_id} is still stopping; resume it when it is paused")
    if job.status == JobStatus.PAUSED:
        job.stop_requested, job.not_before = None, None
        reason, message = Reason.WAITING_FOR_SLOTS, "resumed; waits for the scheduler"
        await jobs.change_status(
            session, job, JobStatus.QUEUED, reason=reason, message=message, by=by
        )
        await notify_queue(session)
    return job


def change(
    session: AsyncSession, job: Job, changes: Mapping[str, Any], *, by: str | None = None
) -> None:
    """Change the columns of a locked job that a user may change at any time.

    Raises:
        Conflict: the job has ended, and another priority or run time would mean nothing.
    """
    live = {"priority", "max_run_seconds"} & set(changes)
    if live and job.status in TERMINAL:
        raise Conflict(_has_ended(job))
    different = {name: value for name, value in changes.items() if getattr(job, name) != value}
    for name, value in different.items():
        setattr(job, name, value)
    if different:
        jobs.append_event(session, job, "changed", {"changes": different, "by": by})


async def drain(session: AsyncSession, node_id: str) -> None:
    """Move the jobs of a node that is cordoned already, by a transaction before this one."""
    query = (
        select(Attempt.job_id)
        .join(Member, Member.attempt_id == Attempt.id)
        .where(Member.node_id == node_id, Member.status != MemberStatus.FINISHED)
    )
    for job_id in sorted(await session.scalars(query)):
        await jobs.find(session, job_id, lock=True)
        attempt = await attempts.find_live(session, job_id)
        if attempt is not None and attempt.stop_reason is None:
            await attempts.request_stop(session, attempt, Reason.DRAINED)
            outcome = Outcome(Reason.DRAINED, "its node is drained")
            await completion.release_unclaimed(session, attempt, outcome)


def _has_ended(job: Job) -> str:
    been = "been " if job.status == JobStatus.CANCELLED else ""
    return f"job {job.id} has already {been}{job.status}"
