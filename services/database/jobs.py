"""Jobs and their events. A status changes only through `change_status`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from nvae_core.run_directory import NoticeLine
from services.database import datasets
from services.database.session import read_clock
from services.database.tables import Attempt, Event, Job
from services.domain.errors import NotFound
from services.domain.states import TERMINAL, JobStatus, Reason, check_transition
from services.telemetry import tracing

_TRACEPARENT = Event.data["traceparent"].astext


async def insert(session: AsyncSession, job: Job, *, by: str | None = None) -> None:
    """Store a new job, queued, with its first event; `by` is the key that asked for it."""
    job.status = JobStatus.QUEUED
    job.reason = Reason.WAITING_FOR_SLOTS
    job.message = "waits for the scheduler"
    job.num_events = 1
    session.add(job)
    await session.flush()  # the event's foreign key wants it first
    tracing.describe(tracing.current(), {"nvae.job.id": job.id, "nvae.job.kind": job.kind})
    # Every attempt of the job goes on from there.
    data = {"kind": job.kind, "by": by, "traceparent": tracing.traceparent()}
    session.add(_newest_event(job, "submitted", data))


async def find(
    session: AsyncSession, job_id: str, *, lock: bool = False, project: str | None = None
) -> Job:
    """Return the job; with lock, nobody else changes it before the transaction ends.

    Raises:
        NotFound: there is no such job, or it is not of this project.
    """
    job = await session.get(Job, job_id, with_for_update=lock, populate_existing=lock)
    if job is None or project not in {None, job.project}:
        raise NotFound(f"there is no job {job_id}")
    return job


@dataclass(frozen=True)
class JobFilter:
    """Which jobs of a project a list has; None is any."""

    status: JobStatus | None = None
    kind: str | None = None
    preset: str | None = None
    name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)  # all of them
    parent: str | None = None
    created_after: datetime | None = None


async def list_newest(
    session: AsyncSession,
    project: str,
    job_filter: JobFilter,
    *,
    limit: int,
    before: str | None = None,
) -> Sequence[Job]:
    """Return up to `limit` jobs of a project, newest first, older than the job `before`."""
    query = select(Job).where(Job.project == project).order_by(Job.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Job.id < before)
    for column, value in (
        (Job.status, job_filter.status),
        (Job.kind, job_filter.kind),
        (Job.spec["preset"].astext, job_filter.preset),
        (Job.name, job_filter.name),
        (Job.parent_id, job_filter.parent),
    ):
        if value is not None:
            query = query.where(column == value)
    if job_filter.tags:
        query = query.where(Job.tags.contains(dict(job_filter.tags)))
    if job_filter.created_after is not None:
        query = query.where(Job.created_at > job_filter.created_after)
    return (await session.scalars(query)).all()


async def list_events(
    session: AsyncSession, job_id: str, *, after: int, limit: int | None = None
) -> Sequence[Event]:
    """Return the job's events with a number above `after`, in order; the first of them."""
    query = select(Event).where(Event.job_id == job_id, Event.number > after)
    return (await session.scalars(query.order_by(Event.number).limit(limit))).all()


@dataclass(frozen=True)
class Version:
    """What of a job moves on whenever something that people wait for has changed."""

    num_events: int
    step: int | None


async def read_versions(session: AsyncSession, job_ids: Sequence[str]) -> dict[str, Version]:
    """Return the version of each of these jobs; a job that is not there is left out."""
    query = select(Job.id, Job.num_events, Job.step).where(Job.id.in_(job_ids))
    rows = await session.execute(query)
    return {job_id: Version(num_events, step) for job_id, num_events, step in rows}


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
            await datasets.fail(session, job.dataset_id, message)
    append_event(session, job, target, {"reason": reason, "message": message, **data})


def append_event(session: AsyncSession, job: Job, type_: str, data: dict[str, Any]) -> None:
    """Append an event to a locked job; numbers have no gaps because the job is locked."""
    job.num_events += 1
    session.add(_newest_event(job, type_, data))


def _newest_event(job: Job, type_: str, data: dict[str, Any]) -> Event:
    present = {name: value for name, value in data.items() if value is not None}
    return Event(job_id=job.id, number=job.num_events, type=type_, data=present)


async def delay(session: AsyncSession, job: Job, seconds: float) -> None:
    """Keep a locked job from being placed for this long."""
    job.not_before = await read_clock(session, seconds_from_now=seconds)


async def add_notice(session: AsyncSession, attempt: Attempt, line: NoticeLine) -> None:
    """Tell what happened that did not end the run; once, however often it is published."""
    job = await find(session, attempt.job_id, lock=True)
    data = {"name": line.name, "message": line.message, "step": line.step}
    data["attempt"] = attempt.number
    present = {name: value for name, value in data.items() if value is not None}
    same_notice = select(Event.number).where(
        Event.job_id == job.id, Event.type == "notice", Event.data == present
    )
    if await session.scalar(same_notice.limit(1)) is None:
        append_event(session, job, "notice", present)


async def submission_traceparent(session: AsyncSession, job_id: str) -> str | None:
    """Return the `traceparent` of the request that submitted a job, if that was traced."""
    query = select(_TRACEPARENT).where(Event.job_id == job_id, Event.number == 1)
    traceparent: str | None = await session.scalar(query)
    return traceparent


async def placement_traceparent(session: AsyncSession, attempt_id: str) -> str | None:
    """Return the `traceparent` of an attempt's placement; None while tracing is off."""
    if not tracing.is_on():
        return None
    query = (
        select(_TRACEPARENT)
        .join(Attempt, Attempt.job_id == Event.job_id)
        .where(
            Attempt.id == attempt_id,
            Event.type == JobStatus.STARTING,
            Event.data["attempt"].as_integer() == Attempt.number,
        )
    )
    traceparent: str | None = await session.scalar(query)
    return traceparent
