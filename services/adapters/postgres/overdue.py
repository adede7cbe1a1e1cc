"""What takes too long: jobs beyond their run time, and gangs whose nodes do not all get ready."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.adapters.postgres import attempts, endings, jobs
from services.adapters.postgres.clock import in_seconds
from services.adapters.postgres.endings import Ending
from services.adapters.postgres.tables import Attempt, Job, Member, Node
from services.domain.statuses import AttemptStatus, MemberStatus, Reason


async def stop_jobs(session: AsyncSession) -> None:
    """Tell the runners of jobs that have run for `max_run_seconds` to end them."""
    age_seconds = func.extract("epoch", func.clock_timestamp() - Attempt.started_at)
    query = (
        select(Attempt.job_id, Attempt.id)
        .join(Job, Job.id == Attempt.job_id)
        .where(
            Attempt.status == AttemptStatus.RUNNING,
            Attempt.stop_reason.is_(None),
            Job.max_run_seconds.is_not(None),
            Job.run_seconds + age_seconds > Job.max_run_seconds,
        )
        .order_by(Attempt.job_id)
    )
    for job_id, attempt_id in (await session.execute(query)).all():
        if attempt := await attempts.lock_live(session, job_id, attempt_id):
            await attempts.request_stop(session, attempt, Reason.DEADLINE_EXCEEDED)


async def list_unready(session: AsyncSession, timeout_seconds: float) -> list[tuple[str, str]]:
    """Return job and attempt id of gangs whose first node has been ready for too long."""
    query = (
        select(Attempt.job_id, Attempt.id)
        .join(Member, Member.attempt_id == Attempt.id)
        .where(
            Attempt.status == AttemptStatus.PLACED,
            Attempt.reason.is_(None),
            Member.ready_at < in_seconds(-timeout_seconds),
        )
    )
    return [(job_id, attempt_id) for job_id, attempt_id in await session.execute(query.distinct())]


async def give_up_unready(session: AsyncSession, attempt: Attempt) -> None:
    """Name the first node of a locked attempt that did not get ready; all let go of it."""
    job = await jobs.find(session, attempt.job_id)
    for member in await attempts.list_members(session, attempt.id):
        if member.status in {MemberStatus.PLACED, MemberStatus.CLAIMED}:
            node = await session.get_one(Node, member.node_id)
            ending = Ending(Reason.NODE_NOT_READY, f"node {node.name} did not get ready in time")
            endings.report(job, attempt, ending, node_id=member.node_id)
            await endings.release_unclaimed(session, attempt, ending)
            return
