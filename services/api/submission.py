"""Submitting jobs and data sets: every check, then one transaction."""

from collections.abc import Sequence

from pydantic import ValidationError

from nvae_core.config import ModelConfig, OptimizationConfig, check_micro_batches
from nvae_core.presets import UnknownPreset, apply_overrides, find_preset
from services.adapters.ids import new_id
from services.adapters.postgres import checkpoints, datasets, jobs, nodes
from services.adapters.postgres.database import Database, Session, notify_queue
from services.adapters.postgres.tables import Checkpoint, Dataset, Job
from services.domain.analyses import (
    InterpolationSpec,
    OfCheckpointSpec,
    OfImagesSpec,
    OfJobs,
    ReconstructionsSpec,
)
from services.domain.errors import Conflict, FieldProblem, InvalidSpec, NotFound
from services.domain.jobs import (
    DatasetSpec,
    EvaluateSpec,
    PrepareDatasetSpec,
    ResolvedTraining,
    Resources,
    SampleSpec,
    StoredSpec,
    SubmittedSpec,
    TrainSpec,
    resources_of,
)
from services.domain.sources import check_source


async def submit_job(database: Database, spec: SubmittedSpec) -> Job:
    """Check the spec completely and store the job.

    Raises:
        InvalidSpec: with a pointer to the field; nothing was stored.
    """
    async with database.transaction() as session:
        job = new_job(spec)
        if isinstance(spec, TrainSpec):
            await check_training(session, job, spec)
        elif isinstance(spec, OfJobs):
            await check_jobs(session, spec)
        else:
            await check_use_of_checkpoint(session, job, spec)
        await jobs.insert(session, job)
        await notify_queue(session)
    return job


async def check_training(session: Session, job: Job, spec: TrainSpec) -> None:
    """Check what a train job asks for against presets, nodes and data sets; fill in its row."""
    resolved = resolve_training(spec)
    await check_resources(session, spec.resources)
    dataset = await find_dataset(session, spec.dataset)
    check_images(resolved.model, dataset)
    check_accumulation(resolved.optimization, spec)
    check_batch(resolved.optimization, dataset, num_ranks=num_ranks(spec))
    job.dataset_id = dataset.id
    job.resolved = resolved.model_dump(mode="json")


async def check_use_of_checkpoint(
    session: Session, job: Job, spec: EvaluateSpec | SampleSpec | OfCheckpointSpec
) -> None:
    """Check what a job asks of a checkpoint and of a data set; fill in its row."""
    checkpoint = await find_checkpoint(session, spec.checkpoint)
    job.checkpoint_id = checkpoint.id
    if isinstance(spec, SampleSpec) and spec.fixed_scales:
        check_scales(await trained_model(session, checkpoint), spec)
    if not isinstance(spec, EvaluateSpec | OfImagesSpec):
        return
    model = await trained_model(session, checkpoint)
    dataset = await find_dataset(session, spec.dataset)
    check_images(model, dataset)
    check_split(spec.split, dataset)
    job.dataset_id = dataset.id
    if isinstance(spec, EvaluateSpec):
        check_range(spec, dataset)
        await check_resources(session, spec.resources)
    if isinstance(spec, ReconstructionsSpec | InterpolationSpec):
        check_indices(spec, dataset)


async def check_jobs(session: Session, spec: OfJobs) -> None:
    """Refuse to compare what is not a train job."""
    for index, job_id in enumerate(spec.jobs):
        try:
            other = await jobs.find(session, job_id)
        except NotFound as error:
            raise InvalidSpec.at(f"/jobs/{index}", error.message) from error
        if other.kind != "train":
            raise InvalidSpec.at(f"/jobs/{index}", f"is a {other.kind} job, which trains nothing")
        if not other.latest_metrics:
            raise InvalidSpec.at(f"/jobs/{index}", "has reported nothing yet")


async def register_dataset(
    database: Database, spec: DatasetSpec, *, s3_prefixes: Sequence[str]
) -> tuple[Dataset, Job]:
    """Store the data set and the job that prepares it.

    Raises:
        InvalidSpec: the path is neither below the nodes' folder of sources nor an S3 prefix.
        Conflict: there is a data set of this name.
    """
    check_source(spec.source, s3_prefixes=s3_prefixes)
    async with database.transaction() as session:
        source = spec.source.model_dump(mode="json")
        dataset = await datasets.insert(session, new_id("ds"), spec.name, source)
        if dataset is None:
            raise Conflict(
                f"there is a data set {spec.name!r} already",
                (FieldProblem("/name", "is the name of another data set"),),
            )
        job = new_job(
            PrepareDatasetSpec(
                name=f"prepare {spec.name}", source=spec.source, seed=spec.seed, dataset=dataset.id
            )
        )
        job.dataset_id = dataset.id
        await jobs.insert(session, job)
        await notify_queue(session)
    return dataset, job


def new_job(spec: StoredSpec) -> Job:
    """Return the row of a job that is not stored yet."""
    resources = resources_of(spec)
    return Job(
        id=new_id("job"),
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
        detail = "; ".join(f"{problem.pointer}: {problem.message}" for problem in problems)
        raise InvalidSpec(detail, problems) from error
    except ValueError as error:
        raise InvalidSpec.at("/overrides", str(error)) from error
    return ResolvedTraining(model=preset.model, optimization=preset.optimization)


def _override_pointer(part: str, location: tuple[int | str, ...]) -> str:
    if not location:
        return "/overrides"
    return f"/overrides/{part}.{location[0]}"


async def check_resources(session: Session, resources: Resources) -> None:
    """Refuse a job that the nodes, alive or not, could never run; before the first one, none."""
    stock = await nodes.take_stock(session, resources)
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


async def find_dataset(session: Session, name_or_id: str) -> Dataset:
    """Return a data set that is ready, or point at the field."""
    try:
        dataset = await datasets.find(session, name_or_id)
    except NotFound as error:
        raise InvalidSpec.at("/dataset", error.message) from error
    if dataset.status != "ready":
        message = f"{name_or_id!r} is {dataset.status}; it can be used when it is ready"
        raise InvalidSpec.at("/dataset", message)
    return dataset


async def find_checkpoint(session: Session, checkpoint_id: str) -> Checkpoint:
    """Return a checkpoint that stays usable until the job is stored, or point at the field."""
    try:
        return await checkpoints.find_usable(session, checkpoint_id)
    except (NotFound, Conflict) as error:
        raise InvalidSpec.at("/checkpoint", error.message) from error


async def trained_model(session: Session, checkpoint: Checkpoint) -> ModelConfig:
    """Return the model that the checkpoint's job trained."""
    job = await jobs.find(session, checkpoint.job_id)
    return ResolvedTraining.model_validate(job.resolved).model


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
