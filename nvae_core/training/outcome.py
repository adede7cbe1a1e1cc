"""What one step measured."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StepOutcome:
    """Means over the images of all ranks; the same on each rank."""

    values: dict[str, float]
    kl_per_channel: Tensor  # (G, Z), nats
    was_taken: bool  # else it was not finite, or its gradient too large, and changed nothing
    scale_was_lowered: bool  # the gradient overflowed; the next step scales it by less
    stop_agreed: bool  # whether any rank was asked to stop
