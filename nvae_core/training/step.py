"""One training step: forward, backward, the mean over ranks, and the update if it is safe."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nvae_core.distributed import average_over_ranks
from nvae_core.model.batch_norm import BatchNorm
from nvae_core.model.convolutions import hold_weights
from nvae_core.model.regularization import batch_norm_penalty, convolutions_of
from nvae_core.objective import KLBalancing, Objective, compute_objective
from nvae_core.training.outcome import StepOutcome
from nvae_core.training.schedules import StepWeights
from nvae_core.training.state import TrainingState


def take_step(
    state: TrainingState,
    x: Tensor,
    noise: Sequence[Tensor],
    *,
    weights: StepWeights,
    balancing: KLBalancing,
    penalize_batch_norm: bool,
    stop_requested: bool,
    max_gradient_norm: float | None = None,
) -> StepOutcome:
    """Update the state by one step on this rank's padded images x (B, C, R, R)."""
    statistics = _BatchNormStatistics(state.model)
    state.optimizer.zero_grad(set_to_none=True)
    with hold_weights(state.model):
        reconstruction = state.model(x, noise)
        spectral, penalty = _weight_penalties(state, penalize_batch_norm, weights.spectral_weight)
        objective = compute_objective(
            reconstruction,
            x,
            kl_weight=weights.kl_weight,
            balancing=balancing,
            weight_penalty=weights.spectral_weight * (spectral + penalty),
        )
        objective.loss.backward()  # type: ignore[no-untyped-call]
    outcome = _agree(
        state,
        objective,
        spectral,
        penalty,
        stop_requested=stop_requested,
        max_gradient_norm=math.inf if max_gradient_norm is None else max_gradient_norm,
    )
    if outcome.was_taken:
        _update(state, weights.learning_rate)
    else:
        statistics.restore()
    state.step += 1
    return outcome


def _agree(
    state: TrainingState,
    objective: Objective,
    spectral: Tensor,
    penalty: Tensor,
    *,
    stop_requested: bool,
    max_gradient_norm: float,
) -> StepOutcome:
    """Average the gradients over the ranks, and with them all that the ranks must agree on."""
    scalars = {
        "loss": objective.loss,
        "negative_elbo": objective.negative_elbo,
        "reconstruction_loss": objective.reconstruction_loss,
        "kl": objective.kl,
        "weighted_kl": objective.weighted_kl,
        "spectral_norm_sum": spectral,
        "batch_norm_penalty": penalty,
    }
    measured = torch.stack([value.detach() for value in scalars.values()])
    kl_per_channel = objective.kl_per_channel.detach()
    # The request to stop rides on this reduction, so that all ranks leave at the same step.
    stop = measured.new_tensor(float(stop_requested))
    gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
    average_over_ranks([*gradients, measured, kl_per_channel, stop])
    values = dict(zip(scalars, measured.tolist(), strict=True))
    values["gradient_norm"] = torch.nn.utils.get_total_norm(gradients).item()
    is_finite = math.isfinite(values["loss"]) and math.isfinite(values["gradient_norm"])
    was_taken = is_finite and values["gradient_norm"] <= max_gradient_norm
    return StepOutcome(values, kl_per_channel, was_taken, stop_agreed=stop.item() > 0)


def _weight_penalties(
    state: TrainingState, penalize_batch_norm: bool, spectral_weight: float
) -> tuple[Tensor, Tensor]:
    zero = torch.zeros((), device=next(state.model.parameters()).device)
    if spectral_weight == 0:
        return zero, zero
    spectral = state.spectral(convolutions_of(state.model))
    return spectral, batch_norm_penalty(state.model) if penalize_batch_norm else zero


def _update(state: TrainingState, learning_rate: float) -> None:
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    state.optimizer.step()


class _BatchNormStatistics:
    """Running statistics before a step, for the case that the step is skipped."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._live = [
            statistic
            for module in model.modules()
            if isinstance(module, BatchNorm)
            for statistic in (module.running_mean, module.running_var)
        ]
        self._saved = torch.cat(self._live) if self._live else torch.empty(0)

    def restore(self) -> None:
        """Put them back."""
        sizes = [statistic.numel() for statistic in self._live]
        for statistic, saved in zip(self._live, torch.split(self._saved, sizes), strict=True):
            statistic.copy_(saved)
