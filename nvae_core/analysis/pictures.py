"""What an analysis leaves: its picture, and beside it the numbers as JSON."""

from dataclasses import dataclass, field

from nvae_core.checkpoint import CheckpointManifest
from nvae_core.config import Analysis, OfCheckpoint
from nvae_core.data.prepared import DatasetManifest
from nvae_core.run_directory import RunDirectory
from nvae_core.sampling.grids import (
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
    numbers: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Sources:
    """What a picture was made from; of an analysis of runs neither."""

    checkpoint: CheckpointManifest | None = None
    dataset: DatasetManifest | None = None


def report_picture(run: RunDirectory, config: Analysis, picture: Picture, sources: Sources) -> None:
    """Leave a picture and its numbers, with everything that it was made from."""
    record = {"inputs": describe_inputs(config)} | _describe(config, sources) | picture.numbers
    step = sources.checkpoint.step if sources.checkpoint else 0
    report_record(run, f"{picture.name}.json", record, step=step)
    report_sample(run, f"{picture.name}.png", picture.png, "image/png", step=step)


def was_trained_on(checkpoint: CheckpointManifest, dataset: DatasetManifest) -> bool | None:
    """Whether a checkpoint was trained on a data set; None where it does not say on which."""
    if checkpoint.trained_on is None:
        return None
    return checkpoint.trained_on.dataset_hash == dataset.content_hash


def _describe(config: Analysis, sources: Sources) -> dict[str, object]:
    described: dict[str, object] = {}
    if sources.checkpoint is not None:
        assert isinstance(config, OfCheckpoint)
        described["checkpoint"] = describe_checkpoint(config.checkpoint, sources.checkpoint)
    if sources.dataset is not None:
        assert sources.checkpoint is not None
        described["dataset"] = {"content_hash": sources.dataset.content_hash}
        described["trained_on_this_dataset"] = was_trained_on(sources.checkpoint, sources.dataset)
    return described
