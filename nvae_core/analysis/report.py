"""What an analysis leaves: its picture, and beside it the numbers as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from nvae_core.analysis.image_grid import Pixels
from nvae_core.checkpoint import CheckpointCorrupt, CheckpointManifest
from nvae_core.config import Analysis, OfCheckpoint
from nvae_core.data.dataset import DatasetManifest
from nvae_core.run_directory import RunDirectory
from nvae_core.sampling.grids import (
    as_bytes,
    describe_checkpoint,
    describe_inputs,
    report_record,
    report_sample,
)


@dataclass(frozen=True)
class Picture:
    """A PNG, and what is in it."""

    name: str  # of the files, without their endings
    png: bytes
    numbers: Mapping[str, object]


@dataclass(frozen=True)
class Sources:
    """What a picture was made from; of an analysis of runs neither."""

    checkpoint: CheckpointManifest | None = None
    dataset: DatasetManifest | None = None


def report_picture(run: RunDirectory, config: Analysis, picture: Picture, sources: Sources) -> None:
    """Leave a picture and its numbers, with everything that it was made from."""
    record: dict[str, object] = {"inputs": describe_inputs(config)}
    step = 0
    if sources.checkpoint is not None:
        assert isinstance(config, OfCheckpoint)
        step = sources.checkpoint.step
        record["checkpoint"] = describe_checkpoint(config.checkpoint, sources.checkpoint)
        if sources.dataset is not None:
            record["dataset"] = {"content_hash": sources.dataset.content_hash}
            record["trained_on_this_dataset"] = was_trained_on(sources.checkpoint, sources.dataset)
    report_record(run, f"{picture.name}.json", {**record, **picture.numbers}, step=step)
    report_sample(run, f"{picture.name}.png", picture.png, "image/png", step=step)


def was_trained_on(checkpoint: CheckpointManifest, dataset: DatasetManifest) -> bool | None:
    """Whether a checkpoint was trained on a data set; None where it does not say on which."""
    if checkpoint.trained_on is None:
        return None
    return checkpoint.trained_on.dataset_hash == dataset.content_hash


def to_pixels(images: Tensor) -> Pixels:
    """Return images (N, C, H, W) in [0, 1] as (N, H, W, C) of bytes; raises as `check_finite`."""
    check_finite(images)
    return as_bytes(images)


def check_finite(*values: Tensor) -> None:
    """Check what the model of a checkpoint gave.

    Raises:
        CheckpointCorrupt: it has NaN or infinities, which as bytes would be black, or anything.
    """
    if not all(bool(value.isfinite().all()) for value in values):
        raise CheckpointCorrupt("checkpoint: its model gives values that are not finite")
