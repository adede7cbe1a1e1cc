"""A new training job that goes on from a checkpoint of another one."""

from nvae_core.config import Config, Seed
from services.adapters.postgres import checkpoints, jobs
from services.adapters.postgres.database import Session, notify_queue
from services.adapters.postgres.tables import Checkpoint, Job
from services.api.checks import Problems, check_training, find_checkpoint
from services.api.submission import new_job
from services.domain.errors import Conflict, InvalidSpec
from services.domain.jobs import STORED_SPEC, Overrides, ResolvedTraining, Resources, TrainSpec
from services.domain.submission import MaxRunSeconds, Name, Priority, Tags


class ForkOptions(Config):
    """What the fork does otherwise; what is left out is as in the job it comes from."""

    checkpoint: Name | None = None  # none: the newest
    overrides: Overrides = {}  # on top of those of the job
    dataset: Name | None = None
    resources: Resources | None = None
    seed: Seed | None = None
    name: Name | None = None
    tags: Tags | None = None
    priority: Priority | None = None
    max_run_seconds: MaxRunSeconds | None = None


async def fork_job(
    session: Session, job_id: str, options: ForkOptions, *, project: str, by: str | None = None
) -> Job:
    """Store a job of the same project that trains on from a checkpoint of a train job.

    Raises:
        NotFound: there is no such job.
        Conflict: the job does not train, or has no checkpoint yet.
        InvalidSpec: with a pointer to the field; nothing was stored.
    """
    parent = await jobs.find(session, job_id, project=project)
    spec = STORED_SPEC.validate_python(parent.spec)
    if not isinstance(spec, TrainSpec):
        raise Conflict(f"job {job_id} is no training: it has no checkpoints")
    checkpoint = await _choose_checkpoint(session, parent, options.checkpoint)
    changes = options.model_dump(exclude_none=True, exclude={"checkpoint", "overrides"})
    overrides = {**spec.overrides, **options.overrides}
    forked = TrainSpec.model_validate(spec.model_dump() | changes | {"overrides": overrides})
    job = new_job(forked, project)
    problems = Problems()
    await check_training(session, job, forked, problems)
    problems.raise_if_any()
    _check_same_model(parent, job)
    job.parent_id, job.checkpoint_id = parent.id, checkpoint.id
    await jobs.insert(session, job, by=by)
    await notify_queue(session)
    return job


async def _choose_checkpoint(session: Session, parent: Job, given: str | None) -> Checkpoint:
    """Return a checkpoint that stays usable until the fork, which reads it, is stored."""
    if given is None:
        newest = await checkpoints.newest(session, parent.id)
        if newest is None:
            raise Conflict(f"job {parent.id} has no checkpoint yet")
        given = newest.id
    checkpoint = await find_checkpoint(session, parent.project, given)
    if checkpoint.job_id != parent.id:
        raise InvalidSpec.at("/checkpoint", f"is of job {checkpoint.job_id}, not of {parent.id}")
    return checkpoint


def _check_same_model(parent: Job, job: Job) -> None:
    """Refuse a checkpoint that the new model could not read."""
    before = ResolvedTraining.model_validate(parent.resolved).model.model_dump()
    now = ResolvedTraining.model_validate(job.resolved).model.model_dump()
    changed = sorted(name for name, value in now.items() if value != before[name])
    if changed:
        message = "differs from the model in the checkpoint; a fork can change how it is trained"
        raise InvalidSpec.at(f"/overrides/model.{changed[0]}", message)
