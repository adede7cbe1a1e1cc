"""Storing jobs and data sets, after every check."""

from collections.abc import Sequence

from services.adapters.ids import new_id
from services.adapters.postgres import datasets, jobs
from services.adapters.postgres.database import Session, notify_queue
from services.adapters.postgres.tables import Dataset, Job
from services.api.checks import Problems, check_job
from services.domain.errors import Conflict, FieldProblem
from services.domain.jobs import (
    CheckpointImport,
    DatasetSpec,
    ImportCheckpointSpec,
    PrepareDatasetSpec,
    StoredSpec,
    SubmittedSpec,
    resources_of,
)
from services.domain.sources import check_source


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
