"""Squeeze-and-excitation and the sum of a cell as one differentiable function.

Where kernels can do it: torch's own graph would write a product and two gradients of the branch's
size to memory, and add them up.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nvae_core.kernels.channel_sums import channel_sums
from nvae_core.kernels.library import fits

Layers = tuple[Tensor, Tensor, Tensor, Tensor]  # weights and biases of squeeze and excite


def gated_sum_fits(skipped: Tensor, residual: Tensor) -> bool:
    """Whether both (B, C, H, W) are as the kernels need them."""
    return fits(skipped) and fits(residual) and skipped.shape == residual.shape


def add_gated(skipped: Tensor, residual: Tensor, layers: Layers, scale: float) -> Tensor:
    """Return skipped + scale gate(residual) residual, (B, C, H, W)."""
    y: Tensor = _GatedSum.apply(skipped, residual, scale, *layers)  # type: ignore[no-untyped-call]
    return y


class _GatedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, skipped: Tensor, residual: Tensor, scale: float, *layers: Tensor
    ) -> Tensor:
        squeeze, squeeze_bias, excite, excite_bias = layers
        num_pixels = residual.shape[2] * residual.shape[3]
        means = channel_sums(residual) / num_pixels
        hidden = F.relu(F.linear(means, squeeze, squeeze_bias))
        gates = torch.sigmoid(F.linear(hidden, excite, excite_bias))
        ctx.save_for_backward(residual, means, hidden, gates, squeeze, excite)
        ctx.scale = scale
        return torch.addcmul(skipped, residual, gates[:, :, None, None], value=scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        residual, means, hidden, gates, squeeze, excite = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        num_pixels = residual.shape[2] * residual.shape[3]
        to_gates = channel_sums(gradient, residual) * ctx.scale
        to_excited = to_gates * gates * (1.0 - gates)
        to_hidden = (to_excited @ excite) * (hidden > 0)
        to_means = to_hidden @ squeeze / num_pixels
        to_residual = torch.addcmul(
            to_means[:, :, None, None], gradient, gates[:, :, None, None], value=ctx.scale
        )
        return (
            *(gradient, to_residual, None),
            *(to_hidden.T @ means, to_hidden.sum(dim=0)),
            *(to_excited.T @ hidden, to_excited.sum(dim=0)),
        )
