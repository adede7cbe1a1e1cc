"""Whether a job whose attempt has ended goes back to the queue, and what is changed for it."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from nvae_core.config import ESTIMATES_NAME
from services.adapters.postgres import checkpoints, jobs
from services.adapters.postgres.tables import Artifact, Attempt, Checkpoint, Job
from services.domain.interventions import calm, salted_seed
from services.domain.jobs import STORED_SPEC, ResolvedTraining, TrainSpec
from services.domain.retry import retry_delay_seconds
from services.domain.statuses import Reason


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
    optimization = calm(
        ResolvedTraining.model_validate(job.resolved).optimization, number=job.num_interventions
    )
    spec = STORED_SPEC.validate_python(job.spec)
    assert isinstance(spec, TrainSpec)
    changes = {
        "number": job.num_interventions,
        "from_step": from_step,
        "learning_rate": optimization.learning_rate,
        "spectral_weight": optimization.spectral_weight,
        "seed": salted_seed(spec.seed, number=job.num_interventions),
    }
    jobs.append_event(session, job, "intervened", changes)


async def _set_corrupt_aside(session: AsyncSession, job: Job) -> bool:
    """Set the newest checkpoint of the job's own aside; whether there was one."""
    newest = await checkpoints.newest(session, job.id)
    if newest is not None:
        await checkpoints.mark_corrupt(session, newest)
    return newest is not None
