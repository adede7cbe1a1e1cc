"""How attempts end: a member finishes, the last one concludes, and the job moves on."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from services.adapters.postgres import jobs, nodes
from services.adapters.postgres.attempts import Claim, fenced_write, is_failure, list_members
from services.adapters.postgres.clock import read_clock
from services.adapters.postgres.database import Database, notify_queue
from services.adapters.postgres.retrying import prepare_retry
from services.adapters.postgres.tables import Attempt, Job, Member, Node, Slot
from services.domain.errors import LeaseLost
from services.domain.retry import NODE_FAULTS, first_cause
from services.domain.statuses import (
    AttemptStatus,
    JobStatus,
    MemberStatus,
    Reason,
    StopRequest,
)


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


async def finish(
    session: AsyncSession, attempt: Attempt, ending: Ending | None, *, node_rank: int = 0
) -> None:
    """End one node's share of an attempt that is locked with its job; the last one ends all.

    Args:
        session: the transaction.
        attempt: of which no process is left on this node.
        ending: what the node knows of the end; None if others know it.
        node_rank: which node.
    """
    job = await jobs.find(session, attempt.job_id)
    members = await list_members(session, attempt.id)
    own = next(member for member in members if member.node_rank == node_rank)
    if ending is not None:
        report(job, attempt, ending, node_id=own.node_id)
    await _release(session, own)
    if is_failure(attempt.reason):
        for member in members:
            if member.status == MemberStatus.PLACED:  # nobody has begun: nothing to wait for
                await _release(session, member)
    if all(member.status == MemberStatus.FINISHED for member in members):
        await _conclude(session, job, attempt)
    await notify_queue(session)


def report(job: Job, attempt: Attempt, ending: Ending, *, node_id: str) -> None:
    """Record a cause of the end of an attempt, unless a better one is known."""
    known = Reason(attempt.reason) if attempt.reason else None
    if first_cause(known, ending.reason):
        attempt.reason, attempt.message = ending.reason, ending.message
        attempt.failed_node_id = node_id if ending.reason in NODE_FAULTS else None
        if ending.reason == Reason.SUCCEEDED:
            job.result = ending.result
            if job.kind == "import_checkpoint" and ending.result:  # its checkpoint is of this model
                job.resolved = {name: ending.result[name] for name in ("model", "optimization")}


async def finish_if_live(database: Database, claim: Claim, ending: Ending | None) -> None:
    """End a share, unless it has ended otherwise meanwhile."""
    with suppress(LeaseLost):
        async with fenced_write(database, claim) as (session, attempt):
            await finish(session, attempt, ending, node_rank=claim.node_rank)


async def finish_expired(
    session: AsyncSession, attempt: Attempt, *, lease_seconds: float
) -> list[Ending]:
    """End the shares of a locked attempt whose leases have run out; return why each did.

    A runner's lease runs out before that of its node, which renews more often: a node that has
    been silent for half of its lease is what has gone.
    """
    endings = []
    now = await read_clock(session)
    for member in await list_members(session, attempt.id):
        if member.status == MemberStatus.FINISHED or member.lease_expires_at >= now:
            continue
        node = await session.get_one(Node, member.node_id)
        if member.status == MemberStatus.PLACED:
            ending = Ending(Reason.NOT_CLAIMED, f"node {node.name} did not claim it in time")
        elif await nodes.is_silent(session, node.id, lease_seconds=lease_seconds):
            ending = Ending(Reason.NODE_LOST, f"node {node.name} is silent")
        else:
            ending = Ending(Reason.WORKER_LOST, f"the runner on {node.name} is silent")
        endings.append(ending)
        await finish(session, attempt, ending, node_rank=member.node_rank)
    return endings


async def release_unclaimed(session: AsyncSession, attempt: Attempt, ending: Ending) -> None:
    """End the shares of a locked attempt that no node has claimed: it is to stop anyway."""
    for member in await list_members(session, attempt.id):
        if member.status == MemberStatus.PLACED:
            await finish(session, attempt, ending, node_rank=member.node_rank)


async def _release(session: AsyncSession, member: Member) -> None:
    member.status, member.finished_at = MemberStatus.FINISHED, await read_clock(session)
    held = (Slot.attempt_id == member.attempt_id, Slot.node_id == member.node_id)
    await session.execute(update(Slot).where(*held).values(attempt_id=None))


async def _conclude(session: AsyncSession, job: Job, attempt: Attempt) -> None:
    attempt.status, attempt.finished_at = AttemptStatus.FINISHED, await read_clock(session)
    if attempt.started_at is not None:
        job.run_seconds += (attempt.finished_at - attempt.started_at).total_seconds()
    reason = Reason(attempt.reason or Reason.RUNNER_FAILED)
    message = attempt.message or "no node said why it ended"
    attempt.reason, attempt.message = reason, message
    await session.flush()
    data: dict[str, Any] = {"attempt": attempt.number}
    target, shown = JobStatus.FAILED, reason
    if reason == Reason.SUCCEEDED:
        target = JobStatus.SUCCEEDED
    elif job.stop_requested == StopRequest.CANCEL:
        target, shown = JobStatus.CANCELLED, Reason.CANCELLED_BY_USER
    elif job.stop_requested == StopRequest.PAUSE:
        target, shown = JobStatus.PAUSED, Reason.PAUSED_BY_USER
    elif (retry := await prepare_retry(session, job, attempt)) is not None:
        target, shown, data["attempt_reason"] = JobStatus.QUEUED, Reason.WAITING_FOR_RETRY, reason
        message = f"attempt {attempt.number} ended: {message}; {retry}"
    await jobs.change_status(session, job, target, reason=shown, message=message, **data)
