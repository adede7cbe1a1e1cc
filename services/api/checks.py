"""Checks that several kinds of jobs have in common; errors point at the field."""

from nvae_core.config import ModelConfig
from services.adapters.postgres import checkpoints, datasets, jobs
from services.adapters.postgres.database import Session
from services.adapters.postgres.tables import Checkpoint, Dataset
from services.domain.errors import Conflict, InvalidSpec, NotFound
from services.domain.jobs import ResolvedTraining


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


def check_split(split: str, dataset: Dataset) -> None:
    """Refuse a split that the data set does not have."""
    splits = (dataset.description or {})["splits"]
    if split not in splits:
        message = f"the data set has no split {split!r}, but {', '.join(sorted(splits))}"
        raise InvalidSpec.at("/split", message)
