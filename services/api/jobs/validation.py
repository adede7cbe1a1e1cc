"""Every check of a job before it is stored; all that is wrong is told at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydantic import ValidationError

from nvae_core.config import (
    BundledSource,
    CheckpointSource,
    DatasetSource,
    ModelConfig,
    OptimizationConfig,
    check_micro_batches,
)
from nvae_core.presets import UnknownPreset, apply_overrides, find_preset
from services.database import checkpoints, datasets, jobs, nodes
from services.database.session import Session
from services.database.tables import Checkpoint, Dataset, Job
from services.domain.errors import Conflict, FieldProblem, InvalidSpec, NotFound
from services.domain.specs import (
    CheckpointAnalysisSpec,
    EvaluateSpec,
    ImagesAnalysisSpec,
    InterpolationSpec,
    JobsAnalysisSpec,
    ReconstructionsSpec,
    ResolvedTraining,
    Resources,
    SampleSpec,
    SubmittedSpec,
    TrainSpec,
)
from services.domain.states import TERMINAL


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
    elif isinstance(spec, JobsAnalysisSpec):
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
        await check_resources(session, spec.resources)
    with problems.noted():
        dataset = await _find_dataset(session, job, spec.dataset)
    if resolved is None:
        return
    with problems.noted():
        check_accumulation(resolved.optimization, spec)
    if dataset is not None:
        with problems.noted():
            check_images(resolved.model, dataset)
        with problems.noted():
            check_batch(resolved.optimization, dataset, num_ranks=num_ranks(spec))


async def _check_use_of_checkpoint(
    session: Session,
    job: Job,
    spec: EvaluateSpec | SampleSpec | CheckpointAnalysisSpec,
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
            check_scales(model, spec)
    if isinstance(spec, EvaluateSpec):
        with problems.noted():
            await check_resources(session, spec.resources)
    if not isinstance(spec, EvaluateSpec | ImagesAnalysisSpec):
        return
    with problems.noted():
        dataset = await _find_dataset(session, job, spec.dataset)
    if dataset is None:
        return
    with problems.noted():
        if model is not None:
            check_images(model, dataset)
    with problems.noted():
        _check_images_of_split(spec, dataset)


def _check_images_of_split(spec: EvaluateSpec | ImagesAnalysisSpec, dataset: Dataset) -> None:
    check_split(spec.split, dataset)
    if isinstance(spec, EvaluateSpec):
        check_range(spec, dataset)
    if isinstance(spec, ReconstructionsSpec | InterpolationSpec):
        check_indices(spec, dataset)


async def _check_jobs(
    session: Session, project: str, spec: JobsAnalysisSpec, problems: Problems
) -> None:
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


async def check_resources(session: Session, resources: Resources) -> None:
    """Refuse a job that the nodes, alive or not, could never run; before the first one, none."""
    stock = await nodes.read_capacity(session, resources)
    if stock.num_nodes == 0:
        return
    if stock.num_labelled == 0:
        raise InvalidSpec.at("/resources/labels", "no node has them all")
    if resources.slots > stock.largest:
        message = f"asks for {resources.slots}, and the largest node has {stock.largest}"
        raise InvalidSpec.at("/resources/slots", message)
    if resources.nodes > stock.num_fitting:
        message = f"asks for {resources.nodes}, and {stock.num_fitting} have the slots and labels"
        raise InvalidSpec.at("/resources/nodes", message)


def num_ranks(spec: TrainSpec) -> int:
    """Return how many ranks train together."""
    return spec.resources.nodes * spec.resources.slots


def check_images(model: ModelConfig, dataset: Dataset) -> None:
    """Refuse a data set whose images the model cannot take."""
    description = dataset.description or {}
    images = (description["height"], description["width"])
    if images != (model.image_size, model.image_size):
        message = f"has images of {images[0]}×{images[1]}, the model takes {model.image_size}"
        raise InvalidSpec.at("/dataset", message)
    if description["num_colors"] != model.num_colors:
        message = f"has {description['num_colors']} colours, the model takes {model.num_colors}"
        raise InvalidSpec.at("/dataset", message)


def check_scales(model: ModelConfig, spec: SampleSpec) -> None:
    """Refuse to hold more scales fixed than the model has."""
    num_scales = len(model.num_groups_per_scale)
    if spec.fixed_scales > num_scales:
        message = f"is {spec.fixed_scales}, and the model has {num_scales}"
        raise InvalidSpec.at("/fixed_scales", message)


def check_split(split: str, dataset: Dataset) -> None:
    """Refuse a split that the data set does not have."""
    splits = (dataset.description or {})["splits"]
    if split not in splits:
        message = f"the data set has no split {split!r}, but {', '.join(sorted(splits))}"
        raise InvalidSpec.at("/split", message)


def check_range(spec: EvaluateSpec, dataset: Dataset) -> None:
    """Refuse images that the split does not have."""
    num_images = (dataset.description or {})["splits"][spec.split]["num_images"]
    if spec.first_image >= num_images:
        message = f"is {spec.first_image}, and the split has {num_images} images"
        raise InvalidSpec.at("/first_image", message)
    left = num_images - spec.first_image
    if spec.num_images is not None and spec.num_images > left:
        message = f"is {spec.num_images}, and the split has {left} from {spec.first_image} on"
        raise InvalidSpec.at("/num_images", message)


def check_indices(spec: ReconstructionsSpec | InterpolationSpec, dataset: Dataset) -> None:
    """Refuse images that the split does not have."""
    num_images = (dataset.description or {})["splits"][spec.split]["num_images"]
    for position, index in enumerate(spec.images):
        if index >= num_images:
            message = f"is {index}, and the split has {num_images} images"
            raise InvalidSpec.at(f"/images/{position}", message)


def check_batch(optimization: OptimizationConfig, dataset: Dataset, *, num_ranks: int) -> None:
    """Refuse a data set with less than one batch."""
    num_images = (dataset.description or {})["splits"]["train"]["num_images"]
    batch = optimization.batch_size * num_ranks
    if num_images < batch:
        message = f"is {batch} images over all ranks, and the data set has {num_images}"
        raise InvalidSpec.at("/overrides/optimization.batch_size", message)


def check_accumulation(optimization: OptimizationConfig, spec: TrainSpec) -> None:
    """Refuse micro-batches of unequal size."""
    try:
        check_micro_batches(optimization, spec.compute)
    except ValueError as error:
        raise InvalidSpec.at("/compute/gradient_accumulation", str(error)) from error


def check_source(source: DatasetSource | CheckpointSource, *, s3_prefixes: Sequence[str]) -> None:
    """Refuse a path that is not plainly below the nodes' folder of sources or an allowed prefix.

    Raises:
        InvalidSpec: it is not; the pointer is that of the path.
    """
    if isinstance(source, BundledSource):
        return
    if source.is_in_s3:
        if not any(source.path.startswith(prefix) for prefix in s3_prefixes):
            allowed = f"must lie below one of: {', '.join(s3_prefixes)}"
            message = allowed if s3_prefixes else "sources in S3 are not allowed here"
            raise InvalidSpec.at("/source/path", message)
    elif "://" in source.path:
        raise InvalidSpec.at("/source/path", "is not a path, nor one of s3://bucket/prefix")
    elif source.path.startswith("/") or ".." in source.parts:
        message = "must be relative to the nodes' folder of sources, without '..'"
        raise InvalidSpec.at("/source/path", message)
