"""The middle of an autoregressive transform: ELU, depthwise convolution, and ELU twice.

Where a kernel can do it, that is one differentiable function, which keeps the inputs of the first
and of the second ELU.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nvae_core.kernels import batch_norm, normalized_depthwise
from nvae_core.kernels.batch_norm import Totals
from nvae_core.kernels.normalized_depthwise import NormalizedOutput, Settings

ELU_TWICE = 3  # its number in the kernels
EPSILON = 0.0
SETTINGS = Settings("transform", EPSILON)


def convolve_activated(x: Tensor, weight: Tensor) -> Tensor:
    """Map x (B, C, H, W) by weight (C, 1, k, k), `same` padding; the two ELUs are intended."""
    if normalized_depthwise.fits(x, weight, 1):
        y: Tensor = _Convolution.apply(x, weight)  # type: ignore[no-untyped-call]
        return y
    padding = weight.shape[-1] // 2
    return F.elu(F.elu(F.conv2d(F.elu(x), weight, padding=padding, groups=len(weight))))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        unchanged = _no_normalization(x)
        y, _ = normalized_depthwise.forward(x, unchanged, weight, SETTINGS)
        ctx.save_for_backward(x, weight, y)
        return batch_norm.normalize(y, unchanged, EPSILON, ELU_TWICE)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, weight, y = ctx.saved_tensors
        unchanged = _no_normalization(x)
        no_statistics = Totals(x.new_zeros(2, x.shape[1]), count=1)
        output = NormalizedOutput(y, unchanged, gradients[0], no_statistics)
        grad_x, _, grad_weight = normalized_depthwise.backward(
            output, x, unchanged, weight, SETTINGS
        )
        return grad_x, grad_weight


def _no_normalization(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    zeros, ones = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
    return ones, zeros, zeros, ones
