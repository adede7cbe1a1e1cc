"""Submitting analyses: every check that can be made before their inputs are read."""

from collections.abc import Iterator

from services.adapters.postgres import jobs
from services.adapters.postgres.database import Session
from services.adapters.postgres.tables import Dataset, Job
from services.api.checks import (
    check_images,
    check_split,
    find_checkpoint,
    find_dataset,
    trained_model,
)
from services.domain.analyses import (
    CheckpointAnalysis,
    ImagesAnalysis,
    InterpolationsSpec,
    ReconstructionsSpec,
    RunsAnalysis,
    ScaleTraversalSpec,
)
from services.domain.errors import InvalidSpec, NotFound


async def check_analysis(
    session: Session, job: Job, spec: CheckpointAnalysis | RunsAnalysis
) -> None:
    """Check what an analysis asks for; fill in its row.

    Raises:
        InvalidSpec: with a pointer to the field.
    """
    if isinstance(spec, RunsAnalysis):
        await _check_runs(session, spec)
        return
    checkpoint = await find_checkpoint(session, spec.checkpoint)
    job.checkpoint_id = checkpoint.id
    model = await trained_model(session, checkpoint)
    if isinstance(spec, ScaleTraversalSpec):
        _check_scales(spec, num_scales=len(model.num_groups_per_scale))
    if isinstance(spec, ImagesAnalysis):
        dataset = await find_dataset(session, spec.dataset)
        check_images(model, dataset)
        check_split(spec.split, dataset)
        _check_indices(spec, dataset)
        job.dataset_id = dataset.id


async def _check_runs(session: Session, spec: RunsAnalysis) -> None:
    for index, run in enumerate(spec.runs):
        pointer = f"/runs/{index}/job"
        try:
            job = await jobs.find(session, run.job)
        except NotFound as error:
            raise InvalidSpec.at(pointer, error.message) from error
        if job.kind != "train":
            raise InvalidSpec.at(pointer, f"{run.job} is a job of kind {job.kind}, not train")


def _check_scales(spec: ScaleTraversalSpec, *, num_scales: int) -> None:
    for index, scales in enumerate(spec.fixed_scales or ()):
        if scales > num_scales:
            message = f"is {scales}, and the model has {num_scales}"
            raise InvalidSpec.at(f"/fixed_scales/{index}", message)


def _check_indices(spec: ImagesAnalysis, dataset: Dataset) -> None:
    num_images = (dataset.description or {})["splits"][spec.split]["num_images"]
    for pointer, index in _indices_of(spec):
        if index >= num_images:
            message = f"is {index}, and the split has {num_images} images"
            raise InvalidSpec.at(pointer, message)


def _indices_of(spec: ImagesAnalysis) -> Iterator[tuple[str, int]]:
    if isinstance(spec, ReconstructionsSpec):
        for position, index in enumerate(spec.indices or ()):
            yield f"/indices/{position}", index
    if isinstance(spec, InterpolationsSpec):
        for position, pair in enumerate(spec.pairs):
            for end, index in enumerate(pair):
                yield f"/pairs/{position}/{end}", index
