"""What a job asks for, checked against what it asks it of: images, scales, splits, nodes."""

from nvae_core.config import ModelConfig, OptimizationConfig, check_micro_batches
from services.adapters.postgres import nodes
from services.adapters.postgres.database import Session
from services.adapters.postgres.tables import Dataset
from services.domain.analyses import InterpolationSpec, ReconstructionsSpec
from services.domain.errors import InvalidSpec
from services.domain.jobs import EvaluateSpec, Resources, SampleSpec, TrainSpec


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
