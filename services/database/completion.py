"""How attempts end: a member finishes, the last one concludes, and the job is retried or ends."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from nvae_core.config import ESTIMATES_NAME
from services.database import checkpoints, jobs
from services.database.attempts import Claim, fenced_write, is_failure, list_members
from services.database.session import Database, notify_queue, read_clock
from services.database.tables import Artifact, Attempt, Checkpoint, Job, Member, Slot
from services.domain.errors import LeaseLost
from services.domain.retry import (
    NODE_FAULTS,
    adjust_optimization,
    adjust_seed,
    first_cause,
    retry_delay_seconds,
)
from services.domain.specs import STORED_SPEC, ResolvedTraining, TrainSpec
from services.domain.states import AttemptStatus, JobStatus, MemberStatus, Reason, StopRequest


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended, in the words users will read."""

    reason: Reason
    message: str
    result: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Take out what Postgres cannot store: logs may hold anything."""
        clean = self.message.replace("\0", "").encode(errors="replace").decode()
        object.__setattr__(self, "message", clean)


async def finish(
    session: AsyncSession, attempt: Attempt, outcome: Outcome | None, *, node_rank: int = 0
) -> None:
    """End one node's share of an attempt that is locked with its job; the last one ends all.

    Args:
        session: the transaction.
        attempt: of which no process is left on this node.
        outcome: what the node knows of the end; None if others know it.
        node_rank: which node.
    """
    job = await jobs.find(session, attempt.job_id)
    members = await list_members(session, attempt.id)
    own = next(member for member in members if member.node_rank == node_rank)
    if outcome is not None:
        report(job, attempt, outcome, node_id=own.node_id)
    await _release(session, own)
    if is_failure(attempt.reason):
        for member in members:
            if member.status == MemberStatus.PLACED:  # nobody has begun: nothing to wait for
                await _release(session, member)
    if all(member.status == MemberStatus.FINISHED for member in members):
        await _conclude(session, job, attempt)
    await notify_queue(session)


def report(job: Job, attempt: Attempt, outcome: Outcome, *, node_id: str) -> None:
    """Record a cause of the end of an attempt, unless a better one is known."""
    known = Reason(attempt.reason) if attempt.reason else None
    if first_cause(known, outcome.reason):
        attempt.reason, attempt.message = outcome.reason, outcome.message
        attempt.failed_node_id = node_id if outcome.reason in NODE_FAULTS else None
        if outcome.reason == Reason.SUCCEEDED:
            job.result = outcome.result
            if (
                job.kind == "import_checkpoint" and outcome.result
            ):  # its checkpoint is of this model
                job.resolved = {name: outcome.result[name] for name in ("model", "optimization")}


async def finish_if_live(database: Database, claim: Claim, outcome: Outcome | None) -> None:
    """End a share, unless it has ended otherwise meanwhile."""
    with suppress(LeaseLost):
        async with fenced_write(database, claim) as (session, attempt):
            await finish(session, attempt, outcome, node_rank=claim.node_rank)


async def release_unclaimed(session: AsyncSession, attempt: Attempt, outcome: Outcome) -> None:
    """End the shares of a locked attempt that no node has claimed: it is to stop anyway."""
    for member in await list_members(session, attempt.id):
        if member.status == MemberStatus.PLACED:
            await finish(session, attempt, outcome, node_rank=member.node_rank)


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


async def prepare_retry(session: AsyncSession, job: Job, attempt: Attempt) -> str | None:
    """Delay a locked job before its next attempt and say so, or return None if there is none."""
    reason = Reason(attempt.reason or "")
    earlier = await _earlier_reasons(session, job, attempt)
    seconds = retry_delay_seconds(reason, earlier=earlier, has_trained=job.step is not None)
    if seconds is None:
        return None
    if reason == Reason.NON_FINITE_LOSS:
        await _intervene(session, job)
    elif reason == Reason.CHECKPOINT_CORRUPT and not await _set_corrupt_aside(session, job):
        return None
    await jobs.delay(session, job, seconds)
    return f"next in {seconds:.0f} s"


async def _earlier_reasons(session: AsyncSession, job: Job, attempt: Attempt) -> list[Reason]:
    """Return the reasons that use up the budgets."""
    if attempt.reason == Reason.NON_FINITE_LOSS:  # a new checkpoint is no proof of health
        return [Reason.NON_FINITE_LOSS] * job.num_interventions
    committed = select(func.max(Checkpoint.created_at)).where(Checkpoint.job_id == job.id)
    estimated = select(func.max(Artifact.created_at)).where(  # what an evaluation goes on from
        Artifact.job_id == job.id, Artifact.name == ESTIMATES_NAME
    )
    newest = func.greatest(committed.scalar_subquery(), estimated.scalar_subquery())
    query = select(Attempt.reason).where(
        Attempt.job_id == job.id,
        Attempt.id != attempt.id,
        Attempt.reason.is_not(None),
        func.coalesce(Attempt.finished_at > newest, True),
    )
    return [Reason(reason) for reason in await session.scalars(query) if reason]


async def _intervene(session: AsyncSession, job: Job) -> None:
    """Go back to the last checkpoint but one, and train on otherwise."""
    committed = await checkpoints.list_of_job(session, job.id)
    from_step = committed[-2].step if len(committed) > 1 else 0
    await checkpoints.supersede_after(session, job.id, from_step)
    job.num_interventions += 1
    optimization = adjust_optimization(
        ResolvedTraining.model_validate(job.resolved).optimization, number=job.num_interventions
    )
    spec = STORED_SPEC.validate_python(job.spec)
    assert isinstance(spec, TrainSpec)
    changes = {
        "number": job.num_interventions,
        "from_step": from_step,
        "learning_rate": optimization.learning_rate,
        "spectral_weight": optimization.spectral_weight,
        "seed": adjust_seed(spec.seed, number=job.num_interventions),
    }
    jobs.append_event(session, job, "intervened", changes)


async def _set_corrupt_aside(session: AsyncSession, job: Job) -> bool:
    """Set the newest checkpoint of the job's own aside; whether there was one."""
    newest = await checkpoints.newest(session, job.id)
    if newest is not None:
        await checkpoints.mark_corrupt(session, newest)
    return newest is not None
