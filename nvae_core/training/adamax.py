"""The optimizer: AdaMax (Kingma and Ba, 2015, Algorithm 2)."""

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
        parameters = [p for group in self.param_groups for p in group["params"]]
        if not all(kernels.adamax_fits(p, self._moments(p)) for p in parameters):
            super().step()
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_inf"] = torch.zeros_like(parameter)
        state["step"] += 1
        mean_decay, norm_decay = group["betas"]
        mean, norm = self._moments(parameter)
        kernels.update(
            parameter,
            gradient,
            (mean, norm),
            rate=group["lr"] / (1 - mean_decay ** state["step"].item()),
            decays=(mean_decay, norm_decay),
            epsilon=group["eps"],
            weight_decay=group["weight_decay"],
        )

    def _moments(self, parameter: Tensor) -> list[Tensor]:
        state = self.state[parameter]
        return [state["exp_avg"], state["exp_inf"]] if state else []
