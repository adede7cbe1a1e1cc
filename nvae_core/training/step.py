"""One training step: the gradients, their mean over ranks, and the update if it is safe."""

import math

import torch
from torch import Tensor

from nvae_core.model.batch_norm import batch_norms_of
from nvae_core.model.noise import Noise
from nvae_core.objective import KLBalancing
from nvae_core.training.gradients import NAMES, Measurements, compute_gradients
from nvae_core.training.outcome import StepOutcome
from nvae_core.training.schedules import StepWeights
from nvae_core.training.state import TrainingState


def take_step(
    state: TrainingState,
    x: Tensor,
    noise: Noise,
    *,
    weights: StepWeights,
    balancing: KLBalancing,
    penalize_batch_norm: bool,
    stop_requested: bool,
    max_gradient_norm: float | None = None,
) -> StepOutcome:
    """Update the state by one step on this rank's padded images x (B, C, R, R)."""
    statistics = _BatchNormStatistics(state.model)
    state.optimizer.zero_grad()
    measured = compute_gradients(
        state,
        x,
        noise,
        weights=weights,
        balancing=balancing,
        penalize_batch_norm=penalize_batch_norm,
    )
    outcome = _agree(
        state,
        measured,
        statistics,
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
    measured: Measurements,
    statistics: "_BatchNormStatistics",
    *,
    stop_requested: bool,
    max_gradient_norm: float,
) -> StepOutcome:
    """Average the gradients over the ranks, and with them all that the ranks must agree on."""
    # The request to stop rides on this reduction, so that all ranks leave at the same step.
    stop = measured.scalars.new_tensor(float(stop_requested))
    # So do running statistics that are not of all ranks: they are equal after every step.
    own_statistics = [] if state.compute.batch_norm_statistics == "all_ranks" else statistics.live
    state.averager.finish([measured.scalars, measured.kl_per_channel, stop, *own_statistics])
    state.scale.unscale(state.optimizer)
    values = dict(zip(NAMES, measured.scalars.tolist(), strict=True)) | state.scale.values()
    gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
    values["gradient_norm"] = torch.nn.utils.get_total_norm(gradients).item()
    is_finite = math.isfinite(values["loss"]) and math.isfinite(values["gradient_norm"])
    was_taken = is_finite and values["gradient_norm"] <= max_gradient_norm
    return StepOutcome(
        values,
        measured.kl_per_channel,
        was_taken,
        scale_was_lowered=state.scale.adapt(),
        stop_agreed=stop.item() > 0,
    )


def _update(state: TrainingState, learning_rate: float) -> None:
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    state.optimizer.step()


class _BatchNormStatistics:
    """Running statistics before a step, for the case that the step is skipped."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.live = [
            statistic
            for norm in batch_norms_of(model)
            for statistic in (norm.running_mean, norm.running_var)
        ]
        self._saved = torch.cat(self.live) if self.live else torch.empty(0)

    def restore(self) -> None:
        """Put them back."""
        sizes = [statistic.numel() for statistic in self.live]
        for statistic, saved in zip(self.live, torch.split(self._saved, sizes), strict=True):
            statistic.copy_(saved)
