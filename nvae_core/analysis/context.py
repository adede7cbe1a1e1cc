"""What analyses work with: the run directory, checkpoints and splits, with errors by field."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nvae_core.config import ModelConfig
from nvae_core.data.invalid import InvalidDataset
from nvae_core.data.loader import check_fits
from nvae_core.data.prepared import PreparedSplit, open_prepared, read_manifest
from nvae_core.data.streams import Images, SplitName
from nvae_core.run_directory import InvalidRunDirectory, RunDirectory
from nvae_core.sampling.sampler import Sampler


class AnalysisStopped(Exception):
    """The analysis was asked to stop."""


@dataclass(frozen=True)
class Context:
    """Where an analysis runs."""

    run: RunDirectory
    device: torch.device
    should_stop: Callable[[], bool]

    def path(self, name: str) -> Path:
        """Return a path of the configuration, which may be relative to the run directory."""
        return self.run.path / name

    def load(self, checkpoint: str) -> Sampler:
        """Load a checkpoint.

        Raises:
            CheckpointCorrupt: a file is missing, damaged, or not of this model.
        """
        return Sampler.load(self.path(checkpoint), self.device)

    def open_split(self, dataset: str, split: SplitName, model: ModelConfig) -> PreparedSplit:
        """Open a split of images that the model takes.

        Raises:
            InvalidDataset: they are of another shape, or the split or a file is missing.
        """
        manifest = read_manifest(self.path(dataset))
        try:
            check_fits(manifest, model)
        except InvalidDataset as error:
            raise InvalidDataset(f"dataset: {error}") from error
        if split not in manifest.splits:
            there = ", ".join(sorted(manifest.splits))
            raise InvalidDataset(f"split: the data set has no split {split!r}, but {there}")
        return open_prepared(self.path(dataset), split)

    def check_stop(self) -> None:
        """Raise AnalysisStopped if that was asked for."""
        if self.should_stop():
            raise AnalysisStopped


@dataclass(frozen=True)
class Picture:
    """What an analysis leaves: a PNG, and the numbers in and behind it, as JSON takes them."""

    name: str  # without its suffix
    png: bytes
    numbers: dict[str, object]


def take_images(split: PreparedSplit, indices: Sequence[int], *, field: str) -> Images:
    """Return images of a split by index, (N, H, W, C).

    Raises:
        InvalidRunDirectory: an index is beyond the split; the message names the field.
    """
    last = len(split.images) - 1
    beyond = [index for index in indices if index > last]
    if beyond:
        raise InvalidRunDirectory(f"{field}: there is no image {beyond[0]}, the last one is {last}")
    return np.stack([split.images[index] for index in indices])


def as_model_sees(images: Images, model: ModelConfig) -> Images:
    """Return images (N, H, W, C) of bytes with the levels that the model's bit depth leaves."""
    if model.bit_depth == 8:
        return images
    highest = np.arange(256) >> (8 - model.bit_depth)
    levels = np.round(highest * (255 / (2**model.bit_depth - 1))).astype(np.uint8)
    seen: Images = levels[images]
    return seen
