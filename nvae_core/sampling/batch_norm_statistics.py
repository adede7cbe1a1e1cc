"""Batch-norm statistics of samples at a temperature: re-estimated, saved and loaded."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nvae_core.config import statistics_name
from nvae_core.model.batch_norm import RunningStatistics
from nvae_core.model.convolutions import hold_weights
from nvae_core.model.nvae import NVAE
from nvae_core.run_directory import InvalidRunDirectory, RunDirectory
from nvae_core.sampling.draw import check_stop

RE_ESTIMATION_BATCH_SIZE = 16
METADATA_NAME = "key"
SUFFIXES = ("running_mean", "running_var")


@dataclass(frozen=True)
class StatisticsKey:
    """What re-estimated statistics depend on, and nothing else."""

    model_sha256: str  # of `model.safetensors`
    temperature: float
    num_draws: int

    @property
    def file_name(self) -> str:
        """Under which they are an artifact."""
        return statistics_name(self.temperature, self.num_draws)


@torch.no_grad()
def re_estimate_batch_norm(
    model: NVAE,
    *,
    temperature: float,
    generator: torch.Generator,
    num_draws: int,
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Let the decoder's running statistics drift to those of samples at this temperature.

    Raises:
        SamplingStopped: `should_stop`, asked before each draw, said so; they are in between.
    """
    was_training = model.training
    statistics = RunningStatistics(model.decoder)
    model.train()
    try:
        with hold_weights(model):
            for _ in range(num_draws):
                check_stop(should_stop)
                model.generate(
                    generator, batch_size=RE_ESTIMATION_BATCH_SIZE, temperature=temperature
                )
                statistics.follow([statistics.take_batch()])
    finally:
        model.train(was_training)


def copy_statistics(model: NVAE) -> dict[str, Tensor]:
    """Return copies of the decoder's running statistics by name."""
    buffers = model.decoder.named_buffers()
    return {name: value.clone() for name, value in buffers if name.endswith(SUFFIXES)}


@torch.no_grad()
def set_statistics(model: NVAE, statistics: Mapping[str, Tensor]) -> None:
    """Replace the decoder's running statistics."""
    for name, value in model.decoder.named_buffers():
        if name.endswith(SUFFIXES):
            value.copy_(statistics[name])


def encode_statistics(statistics: Mapping[str, Tensor], key: StatisticsKey) -> bytes:
    """Return the content of their file; equal statistics are equal bytes."""
    on_cpu = {name: value.cpu().contiguous() for name, value in statistics.items()}
    # One entry: the library writes several in any order.
    return save(on_cpu, metadata={METADATA_NAME: json.dumps(asdict(key))})


def load_batch_norm_statistics(
    run: RunDirectory, paths: Sequence[str], model: NVAE, *, model_sha256: str
) -> dict[StatisticsKey, dict[str, Tensor]]:
    """Return the statistics in files, whose paths may be relative to the run directory.

    Raises:
        InvalidRunDirectory: one is missing, damaged, or of another checkpoint.
    """
    loaded: dict[StatisticsKey, dict[str, Tensor]] = {}
    expected = {name: value.shape for name, value in copy_statistics(model).items()}
    for path in (run.path / name for name in paths):
        problem = f"{run.config_path}: statistics: {path.name}"
        try:
            with safe_open(path, framework="pt") as file:
                key = StatisticsKey(**json.loads((file.metadata() or {})[METADATA_NAME]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InvalidRunDirectory(f"{problem} cannot be read: {error}") from error
        shapes = {name: value.shape for name, value in tensors.items()}
        if key.model_sha256 != model_sha256 or shapes != expected:
            raise InvalidRunDirectory(f"{problem} is of another checkpoint")
        loaded[key] = tensors
    return loaded
