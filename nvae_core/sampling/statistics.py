"""Batch-norm statistics of samples at a temperature, re-estimated, kept and read again."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nvae_core.config import statistics_name
from nvae_core.model.convolutions import hold_weights
from nvae_core.model.nvae import NVAE
from nvae_core.sampling.drawing import SamplingStopped, never

RE_ESTIMATION_BATCH_SIZE = 16
METADATA_NAME = "key"
SUFFIXES = ("running_mean", "running_var")


class InvalidStatistics(ValueError):
    """A file of statistics is damaged, or of something else; the message names it."""


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

    def as_metadata(self) -> dict[str, str]:
        """Return it as it is written into their file.

        One entry: the library writes several in any order, and equal statistics are to be equal
        bytes.
        """
        return {METADATA_NAME: json.dumps(asdict(self))}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "StatisticsKey":
        """Read it from their file; KeyError, TypeError or ValueError if it is not there."""
        return cls(**json.loads(metadata[METADATA_NAME]))


@torch.no_grad()
def re_estimate_batch_norm(
    model: NVAE,
    *,
    temperature: float,
    generator: torch.Generator,
    num_draws: int,
    should_stop: Callable[[], bool] = never,
) -> None:
    """Let the decoder's running statistics drift to those of samples at this temperature.

    Raises:
        SamplingStopped: `should_stop`, asked before each draw, said so; they are in between.
    """
    was_training = model.training
    model.train()
    try:
        with hold_weights(model):
            for _ in range(num_draws):
                if should_stop():
                    raise SamplingStopped
                model.generate(
                    generator, batch_size=RE_ESTIMATION_BATCH_SIZE, temperature=temperature
                )
    finally:
        model.train(was_training)


def copy_statistics(model: NVAE) -> dict[str, Tensor]:
    """Return copies of the decoder's running statistics by name."""
    buffers = model.decoder.named_buffers()
    return {name: value.clone() for name, value in buffers if name.endswith(SUFFIXES)}


@torch.no_grad()
def set_statistics(model: NVAE, statistics: Mapping[str, Tensor]) -> None:
    """Put statistics in place of the decoder's own."""
    for name, value in model.decoder.named_buffers():
        if name.endswith(SUFFIXES):
            value.copy_(statistics[name])


def encode_statistics(statistics: Mapping[str, Tensor], key: StatisticsKey) -> bytes:
    """Return the content of their file."""
    on_cpu = {name: value.cpu().contiguous() for name, value in statistics.items()}
    return save(on_cpu, metadata=key.as_metadata())


def read_statistics(
    path: Path, model: NVAE, *, model_sha256: str
) -> tuple[StatisticsKey, dict[str, Tensor]]:
    """Read a file of statistics of this model.

    Raises:
        InvalidStatistics: it is missing, damaged, or of another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            key = StatisticsKey.from_metadata(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InvalidStatistics(f"statistics: {path.name} cannot be read: {error}") from error
    own = copy_statistics(model)
    shapes = {name: value.shape for name, value in tensors.items()}
    if key.model_sha256 != model_sha256 or shapes != {n: v.shape for n, v in own.items()}:
        raise InvalidStatistics(f"statistics: {path.name} is of another checkpoint")
    return key, tensors
