"""Batch norm re-estimated: running statistics of a decoder taken anew from its own samples."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nvae_core.model.convolutions import hold_weights
from nvae_core.model.decoder import Decoder
from nvae_core.run_directory import InvalidRunDirectory, describe_errors

RE_ESTIMATION_BATCH_SIZE = 16
METADATA_NAME = "statistics"


class Stopped(Exception):
    """Drawing was asked to stop."""


class StatisticsOrigin(BaseModel):
    """What re-estimated statistics depend on: nothing else, so they can be used again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str  # sha256 of its model.safetensors
    temperature: float
    draws: int

    @property
    def file_name(self) -> str:
        """Name of the file that keeps them."""
        return f"batch_norm_temperature_{self.temperature:g}_draws_{self.draws}.safetensors"


@dataclass(frozen=True)
class DecoderStatistics:
    """Means and variances of a decoder's batch norms, by name of the buffer."""

    origin: StatisticsOrigin
    tensors: dict[str, Tensor]

    def encode(self) -> bytes:
        """Return them as a safetensors file; equal statistics give equal bytes."""
        tensors = {name: value.cpu().contiguous() for name, value in self.tensors.items()}
        # One entry: the library writes several in any order.
        return save(tensors, metadata={METADATA_NAME: self.origin.model_dump_json()})


def read_statistics(path: Path, decoder: Decoder) -> DecoderStatistics:
    """Read a file of re-estimated statistics of this decoder.

    Raises:
        InvalidRunDirectory: it is missing or damaged, or is of another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_NAME, "{}")
            origin = StatisticsOrigin.model_validate_json(text)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except ValidationError as error:
        raise InvalidRunDirectory(f"statistics: {path}: {describe_errors(error)}") from error
    except (OSError, SafetensorError) as error:
        raise InvalidRunDirectory(f"statistics: {path}: {error}") from error
    expected = {name: buffer.shape for name, buffer in decoder.named_buffers()}
    if {name: value.shape for name, value in tensors.items()} != expected:
        raise InvalidRunDirectory(f"statistics: {path}: is not of this model")
    return DecoderStatistics(origin, tensors)


def with_own_statistics(decoder: Decoder) -> Decoder:
    """Return a decoder with the same parameters, and with batch-norm statistics of its own."""
    shared = {id(parameter): parameter for parameter in decoder.parameters()}
    return copy.deepcopy(decoder, shared)


def load_statistics(decoder: Decoder, statistics: DecoderStatistics) -> None:
    """Replace the batch-norm statistics of a decoder."""
    for name, buffer in decoder.named_buffers():
        buffer.copy_(statistics.tensors[name])


def copy_statistics(decoder: Decoder, origin: StatisticsOrigin) -> DecoderStatistics:
    """Return a copy of the batch-norm statistics of a decoder."""
    tensors = {name: buffer.clone() for name, buffer in decoder.named_buffers()}
    return DecoderStatistics(origin, tensors)


@torch.no_grad()
def re_estimate_batch_norm(
    decoder: Decoder,
    *,
    temperature: float,
    generator: torch.Generator,
    num_draws: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Let the decoder's running statistics drift to those of samples at this temperature.

    Raises:
        Stopped: `should_stop`, asked before each draw, said so.
    """
    was_training = decoder.training
    decoder.train()
    try:
        with hold_weights(decoder):
            for _ in range(num_draws):
                if should_stop():
                    raise Stopped
                decoder.generate(
                    generator, batch_size=RE_ESTIMATION_BATCH_SIZE, temperature=temperature
                )
    finally:
        decoder.train(was_training)
