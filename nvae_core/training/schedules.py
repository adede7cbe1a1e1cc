"""Schedules: pure functions of the step, counted from 0, of a run of `num_steps` steps."""

import math
from typing import NamedTuple

from nvae_core.config import OptimizationConfig

CONSTANT_FRACTION = 1e-4  # of the steps, before the KL warm-up begins


class Schedule(NamedTuple):
    """Learning rate of one step, and the weights of the terms of its objective."""

    learning_rate: float
    kl_weight: float  # β
    spectral_weight: float  # λ


def schedule_at(
    step: int, *, num_steps: int, steps_per_epoch: int, optimization: OptimizationConfig
) -> Schedule:
    """Return what the configuration says about one step."""
    beta = kl_weight(
        step,
        num_steps=num_steps,
        warmup_fraction=optimization.kl_warmup_fraction,
        minimum=optimization.min_kl_weight,
    )
    return Schedule(
        learning_rate=learning_rate(
            step,
            num_steps=num_steps,
            warmup_steps=round(optimization.warmup_epochs * steps_per_epoch),
            peak=optimization.learning_rate,
            minimum=optimization.min_learning_rate,
        ),
        kl_weight=beta,
        spectral_weight=spectral_weight(
            beta,
            final=optimization.spectral_weight,
            initial=optimization.initial_spectral_weight,
        ),
    )


def learning_rate(
    step: int, *, num_steps: int, warmup_steps: int, peak: float, minimum: float
) -> float:
    """Rise linearly from 0 to the peak, then fall along a cosine to the minimum at the end."""
    if step < warmup_steps:
        return peak * step / warmup_steps
    progress = (step - warmup_steps) / max(num_steps - warmup_steps, 1)
    return minimum + (peak - minimum) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def kl_weight(step: int, *, num_steps: int, warmup_fraction: float, minimum: float) -> float:
    """Rise linearly from the minimum to 1 over the first fraction of the steps (Appendix A)."""
    risen = (step - CONSTANT_FRACTION * num_steps) / (warmup_fraction * num_steps)
    return max(min(risen, 1.0), minimum)


def spectral_weight(kl_weight: float, *, final: float, initial: float | None) -> float:
    """Decay exponentially from the initial value to the final while the KL weight rises."""
    if initial is None:
        return final
    return math.exp((1 - kl_weight) * math.log(initial) + kl_weight * math.log(final))
