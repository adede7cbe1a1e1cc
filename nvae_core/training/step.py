"""One training step: the gradients, their mean over ranks, and the update if it is safe.

Nothing in it waits for the device. What decides about the update stays there, as flags.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nvae_core.distributed import average_gradients, average_over_ranks
from nvae_core.losses import KLBalancing, batch_norm_penalty
from nvae_core.model.weight_bank import Weights
from nvae_core.seeding import Noise
from nvae_core.training.metrics import StepMetrics, mean_of
from nvae_core.training.schedules import Schedule
from nvae_core.training.state import TrainingState

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class StepInputs(NamedTuple):
    """What differs from step to step besides images and noise: scalars on the device."""

    learning_rate: Tensor
    kl_weight: Tensor  # β
    spectral_weight: Tensor  # λ
    stop: Tensor  # 1 where this rank was asked to


def step_inputs(schedule: Schedule, *, stop: bool, device: torch.device) -> StepInputs:
    """Copy what a step needs to the device, at once and without waiting for it."""
    values = torch.tensor([*schedule, float(stop)])
    if device.type == "cuda":
        values = values.pin_memory().to(device, non_blocking=True)
    return StepInputs(*values.unbind(0))


def take_step(
    state: TrainingState,
    x: Tensor,
    noise: Noise,
    *,
    schedule: Schedule,
    balancing: KLBalancing,
    penalize_batch_norm: bool,
    stop_requested: bool,
    max_gradient_norm: float | None = None,
) -> StepMetrics:
    """Update the state by one step on this rank's padded images x (B, C, R, R)."""
    metrics = compute_step(
        state,
        x,
        noise,
        step_inputs(schedule, stop=stop_requested, device=x.device),
        balancing=balancing,
        is_regularized=schedule.spectral_weight > 0,
        penalize_batch_norm=penalize_batch_norm,
        max_gradient_norm=math.inf if max_gradient_norm is None else max_gradient_norm,
    )
    state.step += 1
    return metrics


def compute_step(
    state: TrainingState,
    x: Tensor,
    noise: Noise,
    inputs: StepInputs,
    *,
    balancing: KLBalancing,
    is_regularized: bool,
    penalize_batch_norm: bool,
    max_gradient_norm: float,
) -> StepMetrics:
    """Do what `take_step` says; the same operations in each step after the first."""
    flat = state.bank.flat
    flat.grad = None
    terms: list[Tensor] = []
    kls: list[Tensor] = []
    batches: list[Tensor] = []  # statistics of batch norms
    parts = list(_micro_batches(x, noise, state.compute.gradient_accumulation))
    for index, (part, part_noise) in enumerate(parts):
        is_last = index == len(parts) - 1
        with state.bank.applied(DTYPES[state.compute.precision]) as weights:
            part_terms, kl = _backward(
                state,
                part,
                part_noise,
                inputs,
                balancing=balancing,
                # Once, with the last micro-batch.
                weights=weights if is_regularized and is_last else None,
                penalize_batch_norm=penalize_batch_norm,
                num_parts=len(parts),
            )
        terms.append(part_terms)
        kls.append(kl)
        batches.append(state.running_statistics.take_batch())
    assert flat.grad is not None
    shared = [mean_of(terms), mean_of(kls), inputs.stop]
    # So do running statistics that are not of all ranks: they are equal after every step.
    own = [] if state.compute.batch_norm_statistics == "all_ranks" else batches
    average_gradients(flat.grad)
    average_over_ranks([*shared, *own])
    return _update(state, shared, batches, inputs.learning_rate, max_gradient_norm)


def _update(
    state: TrainingState,
    shared: Sequence[Tensor],
    batches: Sequence[Tensor],
    learning_rate: Tensor,
    max_gradient_norm: float,
) -> StepMetrics:
    """Change the state, unless the loss or the gradient is not finite, or too large."""
    gradients = state.bank.flat.grad
    assert gradients is not None
    terms, kl_per_channel, stop = shared
    scale = state.scale.unscale(gradients)
    norm = torch.linalg.vector_norm(gradients)
    is_finite = terms[0].isfinite() & norm.isfinite()
    is_taken = (is_finite & (norm <= max_gradient_norm)).float()
    state.optimizer.update(gradients, learning_rate, is_taken)
    state.running_statistics.follow(batches, is_taken)
    was_lowered = state.scale.adapt(norm.isfinite())
    scalars = torch.cat([terms, torch.stack([norm, scale, is_taken, was_lowered, stop])])
    state.bank.flat.grad = None
    return StepMetrics(scalars, kl_per_channel)


def _backward(
    state: TrainingState,
    x: Tensor,
    noise: Noise,
    inputs: StepInputs,
    *,
    balancing: KLBalancing,
    weights: Weights | None,
    penalize_batch_norm: bool,
    num_parts: int,
) -> tuple[Tensor, Tensor]:
    """Add the gradients of one micro-batch; return its scalars, and KL per channel (G, Z).

    Batch norm and KL balancing see one micro-batch at a time.
    """
    precision = state.compute.precision
    with torch.autocast(x.device.type, DTYPES[precision], enabled=precision != "float32"):
        output = state.model(x, noise)
    zero = torch.zeros((), device=x.device)
    spectral, penalty = zero, zero
    if weights is not None:
        spectral = state.spectral(weights.matrices)
        if penalize_batch_norm:
            penalty = batch_norm_penalty(weights.norm_scales, zero)
    objective = state.objective(
        output,
        x,
        kl_weight=inputs.kl_weight,
        balancing=balancing,
        weight_penalty=num_parts * inputs.spectral_weight * (spectral + penalty),
    )
    state.scale.scale(objective.loss / num_parts).backward()  # type: ignore[no-untyped-call]
    scalars = (
        objective.loss,
        objective.negative_elbo,
        objective.reconstruction_loss,
        objective.kl,
        objective.weighted_kl,
        num_parts * spectral,
        num_parts * penalty,
    )
    return torch.stack(scalars).detach(), objective.kl_per_channel.detach()


def _micro_batches(x: Tensor, noise: Noise, num_parts: int) -> Iterator[tuple[Tensor, Noise]]:
    if num_parts == 1 or isinstance(noise, torch.Generator):
        yield from ((part, noise) for part in x.chunk(num_parts))
        return
    parts: Sequence[Noise] = list(zip(*(group.chunk(num_parts) for group in noise), strict=True))
    yield from zip(x.chunk(num_parts), parts, strict=True)
