"""The passes of one step: forward and backward, one micro-batch after the other."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from nvae_core.model.convolutions import hold_weights
from nvae_core.model.noise import Noise
from nvae_core.model.regularization import batch_norm_penalty, convolutions_of
from nvae_core.objective import KLBalancing, Objective, compute_objective
from nvae_core.training.schedules import StepWeights
from nvae_core.training.state import TrainingState

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NAMES = (
    "loss",
    "negative_elbo",
    "reconstruction_loss",
    "kl",
    "weighted_kl",
    "spectral_norm_sum",
    "batch_norm_penalty",
)


@dataclass(frozen=True)
class Measurements:
    """Means over the images of this rank, without gradient."""

    scalars: Tensor  # those of NAMES
    kl_per_channel: Tensor  # (G, Z)


def compute_gradients(
    state: TrainingState,
    x: Tensor,
    noise: Noise,
    *,
    weights: StepWeights,
    balancing: KLBalancing,
    penalize_batch_norm: bool,
) -> Measurements:
    """Add up the gradients of the scaled objective; the ranks begin to average them.

    Batch norm and KL balancing see one micro-batch at a time. The penalties on the weights are
    computed once, with the last one.
    """
    num_parts = state.compute.gradient_accumulation
    measured: list[Measurements] = []
    for part, part_noise in _micro_batches(x, noise, num_parts):
        is_last = len(measured) == num_parts - 1
        with hold_weights(state.model):
            with _autocast(state, x.device):
                reconstruction = state.model(part, part_noise)
            zero = torch.zeros((), device=x.device)
            spectral, penalty = (
                _weight_penalties(state, penalize_batch_norm, weights.spectral_weight, zero)
                if is_last
                else (zero, zero)
            )
            objective = compute_objective(
                reconstruction,
                part,
                kl_weight=weights.kl_weight,
                balancing=balancing,
                weight_penalty=num_parts * weights.spectral_weight * (spectral + penalty),
            )
            with state.averager.last_backward() if is_last else nullcontext():
                state.scale.scale(objective.loss / num_parts).backward()  # type: ignore[no-untyped-call]
        measured.append(_measure(objective, num_parts * spectral, num_parts * penalty))
    return Measurements(
        torch.stack([part.scalars for part in measured]).mean(dim=0),
        torch.stack([part.kl_per_channel for part in measured]).mean(dim=0),
    )


def _micro_batches(x: Tensor, noise: Noise, num_parts: int) -> Iterator[tuple[Tensor, Noise]]:
    if num_parts == 1 or isinstance(noise, torch.Generator):
        yield from ((part, noise) for part in x.chunk(num_parts))
        return
    parts: Sequence[Noise] = list(zip(*(group.chunk(num_parts) for group in noise), strict=True))
    yield from zip(x.chunk(num_parts), parts, strict=True)


def _autocast(state: TrainingState, device: torch.device) -> torch.autocast:
    precision = state.compute.precision
    is_needed = precision != "float32"
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=is_needed)


def _weight_penalties(
    state: TrainingState, penalize_batch_norm: bool, spectral_weight: float, zero: Tensor
) -> tuple[Tensor, Tensor]:
    if spectral_weight == 0:
        return zero, zero
    spectral = state.spectral(convolutions_of(state.model))
    return spectral, batch_norm_penalty(state.model) if penalize_batch_norm else zero


def _measure(objective: Objective, spectral: Tensor, penalty: Tensor) -> Measurements:
    scalars = (
        objective.loss,
        objective.negative_elbo,
        objective.reconstruction_loss,
        objective.kl,
        objective.weighted_kl,
        spectral,
        penalty,
    )
    return Measurements(
        torch.stack([scalar.detach() for scalar in scalars]), objective.kl_per_channel.detach()
    )
