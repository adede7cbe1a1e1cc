"""Storing jobs and data sets, after every check."""

from collections.abc import Sequence

from nvae_core.config import Config, Seed
from services.api.jobs.validation import (
    Problems,
    check_job,
    check_source,
    check_training,
    find_checkpoint,
)
from services.database import checkpoints, datasets, jobs
from services.database.session import Session, new_id, notify_queue
from services.database.tables import Checkpoint, Dataset, Job
from services.domain.errors import Conflict, FieldProblem, InvalidSpec
from services.domain.specs import (
    STORED_SPEC,
    CheckpointImport,
    DatasetSpec,
    ImportCheckpointSpec,
    MaxRunSeconds,
    Name,
    Overrides,
    PrepareDatasetSpec,
    Priority,
    ResolvedTraining,
    Resources,
    StoredSpec,
    SubmittedSpec,
    Tags,
    TrainSpec,
    resources_of,
)


async def submit_job(
    session: Session, spec: SubmittedSpec, *, project: str, by: str | None = None
) -> Job:
    """Check the spec completely and store the job; `by` is the key that submits it.

    Raises:
        InvalidSpec: with a pointer to each field that is wrong.
    """
    job = new_job(spec, project)
    problems = Problems()
    await check_job(session, job, spec, problems)
    problems.raise_if_any()
    await jobs.insert(session, job, by=by)
    await notify_queue(session)
    return job


async def register_dataset(
    session: Session,
    spec: DatasetSpec,
    *,
    project: str,
    s3_prefixes: Sequence[str],
    by: str | None = None,
) -> tuple[Dataset, Job]:
    """Store the data set and the job that prepares it.

    Raises:
        InvalidSpec: the path is neither below the nodes' folder of sources nor an S3 prefix.
        Conflict: there is a data set of this name.
    """
    check_source(spec.source, s3_prefixes=s3_prefixes)
    source = spec.source.model_dump(mode="json")
    dataset = await datasets.insert(
        session, new_id("ds"), project=project, name=spec.name, source=source
    )
    if dataset is None:
        raise Conflict(
            f"there is a data set {spec.name!r} already",
            (FieldProblem("/name", "is the name of another data set"),),
        )
    preparation = PrepareDatasetSpec(
        name=f"prepare {spec.name}", source=spec.source, seed=spec.seed, dataset=dataset.id
    )
    job = new_job(preparation, project)
    job.dataset_id = dataset.id
    await jobs.insert(session, job, by=by)
    await notify_queue(session)
    return dataset, job


async def import_checkpoint(
    session: Session,
    asked: CheckpointImport,
    *,
    project: str,
    s3_prefixes: Sequence[str],
    by: str | None = None,
) -> Job:
    """Store the job that imports a checkpoint; raises InvalidSpec as `register_dataset`."""
    check_source(asked.source, s3_prefixes=s3_prefixes)
    job = new_job(ImportCheckpointSpec.model_validate(asked.model_dump()), project)
    await jobs.insert(session, job, by=by)
    await notify_queue(session)
    return job


def new_job(spec: StoredSpec, project: str) -> Job:
    """Return the row of a job that is not stored yet."""
    resources = resources_of(spec)
    return Job(
        id=new_id("job"),
        project=project,
        kind=spec.kind,
        name=spec.name,
        spec=spec.model_dump(mode="json"),
        tags=dict(spec.tags),
        priority=spec.priority,
        max_run_seconds=spec.max_run_seconds,
        num_nodes=resources.nodes,
        num_slots=resources.slots,
        labels=dict(resources.labels),
    )


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


async def _choose_checkpoint(
    session: Session, parent: Job, checkpoint_id: str | None
) -> Checkpoint:
    """Return a checkpoint that stays usable until the fork, which reads it, is stored."""
    if checkpoint_id is None:
        newest = await checkpoints.newest(session, parent.id)
        if newest is None:
            raise Conflict(f"job {parent.id} has no checkpoint yet")
        checkpoint_id = newest.id
    checkpoint = await find_checkpoint(session, parent.project, checkpoint_id)
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
