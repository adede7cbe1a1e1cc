"""Where the trace of a job goes on: in the events of its submission and of its placements."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.adapters import tracing
from services.adapters.postgres.tables import Attempt, Event
from services.domain.statuses import JobStatus

_TRACEPARENT = Event.data["traceparent"].astext


async def of_job(session: AsyncSession, job_id: str) -> str | None:
    """Return the `traceparent` of the request that submitted a job, if that was traced."""
    query = select(_TRACEPARENT).where(Event.job_id == job_id, Event.number == 1)
    found: str | None = await session.scalar(query)
    return found


async def of_attempt(session: AsyncSession, attempt_id: str) -> str | None:
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
    found: str | None = await session.scalar(query)
    return found
