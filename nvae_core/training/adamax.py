"""The optimizer: AdaMax (Kingma and Ba, 2015, Algorithm 2)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nvae_core.kernels import adamax as kernels


class Adamax(torch.optim.Adamax):
    """torch's own, but for parameters that a kernel can update in one pass over memory."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the parameters that have a gradient."""
        assert closure is None
        for group in self.param_groups:
            with_gradient = [p for p in group["params"] if p.grad is not None]
            states = [self._state_of(parameter) for parameter in with_gradient]
            moments = [(state["exp_avg"], state["exp_inf"]) for state in states]
            if not kernels.adamax_fits(with_gradient, moments):
                super().step()
                return
            _update(group, with_gradient, moments, [state["step"] for state in states])

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        assert set_to_none
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_inf"] = torch.zeros_like(parameter)
        return state


def _update(
    group: dict[str, Any],
    parameters: Sequence[Tensor],
    moments: Sequence[tuple[Tensor, Tensor]],
    steps: list[Tensor],
) -> None:
    torch._foreach_add_(steps, 1)
    mean_decay, norm_decay = group["betas"]
    counts = torch.stack(steps).tolist()
    rates = {count: group["lr"] / (1 - mean_decay**count) for count in set(counts)}
    for parameter, pair, count in zip(parameters, moments, counts, strict=True):
        assert parameter.grad is not None
        kernels.update(
            parameter,
            parameter.grad,
            pair,
            rate=rates[count],
            decays=(mean_decay, norm_decay),
            epsilon=group["eps"],
            weight_decay=group["weight_decay"],
        )
