"""What an analysis leaves: its picture, and beside it the numbers as JSON."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nvae_core.checkpoint import MODEL_NAME, CheckpointManifest
from nvae_core.config import Analysis, OfCheckpoint
from nvae_core.data.prepared import DatasetManifest
from nvae_core.run_directory import RunDirectory
from nvae_core.sampling.grids import report_sample

# Folders and files of this machine; what is in them is told in other words.
PATHS: Any = {
    "checkpoint": True,
    "dataset": True,
    "statistics": True,
    "runs": {"__all__": {"path"}},
}


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
    record: dict[str, object] = {"inputs": config.model_dump(mode="json", exclude=PATHS)}
    record |= _describe(config, sources) | picture.numbers
    content = json.dumps(record, indent=2, allow_nan=False).encode()
    step = sources.checkpoint.step if sources.checkpoint else 0
    report_sample(run, f"{picture.name}.json", content, "application/json", step=step)
    report_sample(run, f"{picture.name}.png", picture.png, "image/png", step=step)


def _describe(config: Analysis, sources: Sources) -> dict[str, object]:
    """Return what the sources are, in words that hold on other machines too."""
    described: dict[str, object] = {}
    if sources.checkpoint is not None:
        assert isinstance(config, OfCheckpoint)
        described["checkpoint"] = {
            "name": Path(config.checkpoint).name,  # of a job's checkpoint its id
            "step": sources.checkpoint.step,
            "seed": sources.checkpoint.seed,
            "model_sha256": sources.checkpoint.files[MODEL_NAME].sha256,
        }
    if sources.dataset is not None:
        described["dataset"] = {"content_hash": sources.dataset.content_hash}
    return described
