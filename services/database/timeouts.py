"""What takes too long: leases, jobs beyond their run time, gangs that do not get ready."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.database import attempts, completion, jobs, nodes
from services.database.attempts import list_members
from services.database.completion import Outcome, finish
from services.database.session import in_seconds, read_clock
from services.database.tables import Attempt, Job, Member, Node
from services.domain.states import AttemptStatus, MemberStatus, Reason


async def list_expired(session: AsyncSession) -> Sequence[tuple[str, str]]:
    """Return job and attempt id of attempts with a member whose lease has run out."""
    query = (
        select(Attempt.job_id, Attempt.id)
        .join(Member, Member.attempt_id == Attempt.id)
        .where(
            Member.status != MemberStatus.FINISHED,
            Member.lease_expires_at < func.clock_timestamp(),
        )
    )
    return [(job_id, attempt_id) for job_id, attempt_id in await session.execute(query.distinct())]


async def finish_expired(
    session: AsyncSession, attempt: Attempt, *, lease_seconds: float
) -> list[Outcome]:
    """End the shares of a locked attempt whose leases have run out; return why each did.

    A runner's lease runs out before that of its node, which renews more often: a node that has
    been silent for half of its lease is what has gone.
    """
    outcomes = []
    now = await read_clock(session)
    for member in await list_members(session, attempt.id):
        if member.status == MemberStatus.FINISHED or member.lease_expires_at >= now:
            continue
        node = await session.get_one(Node, member.node_id)
        if member.status == MemberStatus.PLACED:
            outcome = Outcome(Reason.NOT_CLAIMED, f"node {node.name} did not claim it in time")
        elif await nodes.is_silent(session, node.id, lease_seconds=lease_seconds):
            outcome = Outcome(Reason.NODE_LOST, f"node {node.name} is silent")
        else:
            outcome = Outcome(Reason.WORKER_LOST, f"the runner on {node.name} is silent")
        outcomes.append(outcome)
        await finish(session, attempt, outcome, node_rank=member.node_rank)
    return outcomes


async def stop_overdue_jobs(session: AsyncSession) -> None:
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
            outcome = Outcome(Reason.NODE_NOT_READY, f"node {node.name} did not get ready in time")
            completion.report(job, attempt, outcome, node_id=member.node_id)
            await completion.release_unclaimed(session, attempt, outcome)
            return
