"""What analyses are given in a test, and what they left."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from nvae_core.checkpoint import TrainedOn
from nvae_core.config import TrainConfig
from nvae_core.model.nvae import NVAE
from nvae_core.run_directory import ArtifactLine, MetricsLine, RunDirectory
from nvae_core.training.checkpointer import take_snapshot, write_checkpoint
from nvae_core.training.state import start_training

OF_IMAGES = {"nearest_images", "reconstructions", "interpolation"}


def save_untrained(
    folder: Path,
    config: TrainConfig,
    *,
    change: Callable[[NVAE], None] = lambda model: None,
    trained_on: TrainedOn | None = None,
) -> Path:
    """Save a checkpoint of a new model; return its folder."""
    state = start_training(config.model, config.optimization, seed=0, device=torch.device("cpu"))
    change(state.model)
    snapshot = take_snapshot(state, optimization=config.optimization, seed=0, trained_on=trained_on)
    write_checkpoint(folder / snapshot.folder_name, snapshot)
    return folder / snapshot.folder_name


def artifacts(run: RunDirectory) -> dict[str, bytes]:
    lines = [line for _, line in run.read_progress() if isinstance(line, ArtifactLine)]
    return {line.name: (run.path / line.path).read_bytes() for line in lines}


def write_progress(path: Path, values: dict[int, dict[str, float]]) -> Path:
    run = RunDirectory(path)
    run.path.mkdir()
    for step, measured in values.items():
        run.append(MetricsLine(at=0.0, step=step, values=measured))
    return path


def random_images(count: int, size: int = 16, colors: int = 3, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, size, size, colors), np.uint8)
