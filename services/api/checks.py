"""Every check of a job before it is stored; all that is wrong is told at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from nvae_core.config import ModelConfig
from nvae_core.presets import UnknownPreset, apply_overrides, find_preset
from services.adapters.postgres import checkpoints, datasets, jobs
from services.adapters.postgres.database import Session
from services.adapters.postgres.tables import Checkpoint, Dataset, Job
from services.api import limits
from services.domain.analyses import (
    InterpolationSpec,
    OfCheckpointSpec,
    OfImagesSpec,
    OfJobs,
    ReconstructionsSpec,
)
from services.domain.errors import Conflict, FieldProblem, InvalidSpec, NotFound
from services.domain.jobs import (
    EvaluateSpec,
    ResolvedTraining,
    SampleSpec,
    SubmittedSpec,
    TrainSpec,
)
from services.domain.statuses import TERMINAL


class Problems:
    """What is wrong with a spec, field by field."""

    def __init__(self) -> None:
        self.found: list[FieldProblem] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what the block finds wrong, and go on after it."""
        try:
            yield
        except InvalidSpec as error:
            self.found += error.problems

    def raise_if_any(self) -> None:
        """Raise InvalidSpec with all of them."""
        if self.found:
            raise InvalidSpec.of(tuple(self.found))


async def check_job(session: Session, job: Job, spec: SubmittedSpec, problems: Problems) -> None:
    """Check what a job asks for against what is there, and fill in its row."""
    if isinstance(spec, TrainSpec):
        await check_training(session, job, spec, problems)
    elif isinstance(spec, OfJobs):
        await _check_jobs(session, job.project, spec, problems)
    else:
        await _check_use_of_checkpoint(session, job, spec, problems)


async def check_training(session: Session, job: Job, spec: TrainSpec, problems: Problems) -> None:
    """Check a train job against presets, nodes and data sets, and fill in its row."""
    resolved, dataset = None, None
    with problems.noted():
        resolved = resolve_training(spec)
        job.resolved = resolved.model_dump(mode="json")
    with problems.noted():
        await limits.check_resources(session, spec.resources)
    with problems.noted():
        dataset = await _find_dataset(session, job, spec.dataset)
    if resolved is None:
        return
    with problems.noted():
        limits.check_accumulation(resolved.optimization, spec)
    if dataset is not None:
        with problems.noted():
            limits.check_images(resolved.model, dataset)
        with problems.noted():
            num_ranks = limits.num_ranks(spec)
            limits.check_batch(resolved.optimization, dataset, num_ranks=num_ranks)


async def _check_use_of_checkpoint(
    session: Session,
    job: Job,
    spec: EvaluateSpec | SampleSpec | OfCheckpointSpec,
    problems: Problems,
) -> None:
    model, dataset = None, None
    needs_model = not isinstance(spec, SampleSpec) or spec.fixed_scales > 0
    with problems.noted():
        checkpoint = await find_checkpoint(session, job.project, spec.checkpoint)
        job.checkpoint_id = checkpoint.id
        model = await _trained_model(session, checkpoint) if needs_model else None
    if isinstance(spec, SampleSpec) and model is not None:
        with problems.noted():
            limits.check_scales(model, spec)
    if isinstance(spec, EvaluateSpec):
        with problems.noted():
            await limits.check_resources(session, spec.resources)
    if not isinstance(spec, EvaluateSpec | OfImagesSpec):
        return
    with problems.noted():
        dataset = await _find_dataset(session, job, spec.dataset)
    if dataset is None:
        return
    with problems.noted():
        if model is not None:
            limits.check_images(model, dataset)
    with problems.noted():
        _check_images_of_split(spec, dataset)


def _check_images_of_split(spec: EvaluateSpec | OfImagesSpec, dataset: Dataset) -> None:
    limits.check_split(spec.split, dataset)
    if isinstance(spec, EvaluateSpec):
        limits.check_range(spec, dataset)
    if isinstance(spec, ReconstructionsSpec | InterpolationSpec):
        limits.check_indices(spec, dataset)


async def _check_jobs(session: Session, project: str, spec: OfJobs, problems: Problems) -> None:
    """Refuse to compare what is not a train job."""
    for index, job_id in enumerate(spec.jobs):
        pointer = f"/jobs/{index}"
        with problems.noted():
            try:
                other = await jobs.find(session, job_id, project=project)
            except NotFound as error:
                raise InvalidSpec.at(pointer, error.message) from error
            if other.kind != "train":
                raise InvalidSpec.at(pointer, f"is a {other.kind} job, which trains nothing")
            if not other.latest_metrics:
                raise InvalidSpec.at(pointer, "has reported nothing yet")


def resolve_training(spec: TrainSpec) -> ResolvedTraining:
    """Return the preset with its overrides; errors point at the preset or the override."""
    try:
        preset = find_preset(spec.preset)
    except UnknownPreset as error:
        raise InvalidSpec.at("/preset", str(error)) from error
    try:
        preset = apply_overrides(preset, spec.overrides)
    except ValidationError as error:
        part = {"ModelConfig": "model", "OptimizationConfig": "optimization"}[error.title]
        problems = tuple(
            FieldProblem(_override_pointer(part, item["loc"]), item["msg"])
            for item in error.errors(include_url=False)
        )
        raise InvalidSpec.of(problems) from error
    except ValueError as error:
        raise InvalidSpec.at("/overrides", str(error)) from error
    return ResolvedTraining(model=preset.model, optimization=preset.optimization)


def _override_pointer(part: str, location: tuple[int | str, ...]) -> str:
    if not location:
        return "/overrides"
    return f"/overrides/{part}.{location[0]}"


async def _find_dataset(session: Session, job: Job, name_or_id: str) -> Dataset:
    """Return a data set that is ready and note it on the job, or point at the field."""
    try:
        dataset = await datasets.find(session, job.project, name_or_id, lock="use")
    except NotFound as error:
        raise InvalidSpec.at("/dataset", error.message) from error
    if dataset.status != "ready":
        message = f"{name_or_id!r} is {dataset.status}; it can be used when it is ready"
        raise InvalidSpec.at("/dataset", message)
    job.dataset_id = dataset.id
    return dataset


async def find_checkpoint(session: Session, project: str, checkpoint_id: str) -> Checkpoint:
    """Return a checkpoint that stays usable until the job is stored, or point at the field."""
    try:
        return await checkpoints.find_usable(session, project, checkpoint_id)
    except (NotFound, Conflict) as error:
        raise InvalidSpec.at("/checkpoint", error.message) from error


async def _trained_model(session: Session, checkpoint: Checkpoint) -> ModelConfig:
    """Return the model that the checkpoint's job trained or imported, or point at the field."""
    job = await jobs.find(session, checkpoint.job_id)
    if job.resolved is None:  # an import knows its model when it has succeeded
        state = f"ended as {job.status}" if job.status in TERMINAL else "has not ended yet"
        raise InvalidSpec.at("/checkpoint", f"its import, job {job.id}, {state}")
    return ResolvedTraining.model_validate(job.resolved).model
