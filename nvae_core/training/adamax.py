"""The optimizer: AdaMax (Kingma and Ba, 2015, Algorithm 2), over all parameters in one tensor."""

import torch
from torch import Tensor

MEAN_DECAY = 0.9  # β1
NORM_DECAY = 0.999  # β2
EPSILON = 1e-3
CACHED_VALUES = 2**15  # of each tensor, that a CPU updates while they are in its cache


class Adamax:
    """Moments of a model's gradients, and the update of its parameters."""

    def __init__(self, parameters: Tensor, *, weight_decay: float) -> None:
        self.parameters = parameters.detach()
        self.mean = torch.zeros_like(self.parameters)
        self.norm = torch.zeros_like(self.parameters)
        self.count = torch.zeros((), device=parameters.device)  # of updates
        self._weight_decay = weight_decay

    @torch.no_grad()
    def update(self, gradients: Tensor, rate: Tensor, is_taken: Tensor) -> None:
        """Update by gradients, which are overwritten; if the step is not taken, change nothing.

        The learning rate and the decision are scalars on the device: nothing waits for them.
        """
        self.count += is_taken
        step_size = rate * is_taken / (1 - MEAN_DECAY ** self.count.clamp_min(1))
        if waits_for_nothing(self.parameters.device):
            self._update_if(is_taken, gradients, step_size)
        elif is_taken:
            self._update_in_parts(gradients, step_size.item())

    def _update_in_parts(self, gradients: Tensor, step_size: float) -> None:
        parts = (
            torch.split(tensor, CACHED_VALUES)
            for tensor in (self.parameters, gradients, self.mean, self.norm)
        )
        for parameters, part, mean, norm in zip(*parts, strict=True):
            part.add_(parameters, alpha=self._weight_decay)
            mean.lerp_(part, 1 - MEAN_DECAY)
            part.abs_().add_(EPSILON)
            torch.maximum(norm.mul_(NORM_DECAY), part, out=norm)
            parameters.addcdiv_(mean, norm, value=-step_size)

    def _update_if(self, is_taken: Tensor, gradients: Tensor, step_size: Tensor) -> None:
        """Do the same by operations that change nothing where the flag is 0."""
        taken = is_taken > 0
        gradients = torch.where(taken, gradients, 0)  # which are perhaps not finite
        gradients.add_(self.parameters, alpha=self._weight_decay).mul_(is_taken)
        self.mean.lerp_(gradients, (1 - MEAN_DECAY) * is_taken)
        self.norm.mul_(torch.where(taken, NORM_DECAY, 1.0))
        torch.maximum(self.norm, gradients.abs_().add_(EPSILON * is_taken), out=self.norm)
        change = torch.div(self.mean, self.norm.clamp_min(EPSILON / 2), out=gradients)
        self.parameters.sub_(change.mul_(step_size))


def waits_for_nothing(device: torch.device) -> bool:
    """Whether the device works on while Python goes ahead, so that to ask it costs time."""
    return device.type != "cpu"
