"""Batch norm over the batches of all ranks, on any device."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nvae_core.distributed import gather_over_ranks, sum_over_ranks, world_size


def synchronized_batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize (B, C, H, W) by the statistics of all ranks, which have equal batch sizes.

    Returns:
        The normalized tensor, and the mean and the biased variance per channel, without gradient.
    """
    y, mean, variance = _SynchronizedBatchNorm.apply(x, weight, bias, epsilon)  # type: ignore[no-untyped-call]
    return y, mean, variance


class _SynchronizedBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        local_variance, local_mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        means, variances = gather_over_ranks(torch.stack([local_mean, local_variance])).unbind(1)
        mean = means.mean(dim=0)
        variance = (variances + (means - mean).square()).mean(dim=0)
        y = F.batch_norm(x, mean, variance, weight, bias, eps=epsilon)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + epsilon))
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        grad = gradients[0]
        grad_sum = grad.sum(dim=(0, 2, 3))
        # Sum of grad * x_hat, without a pass that stores x_hat.
        grad_x_sum = ((grad * x).sum(dim=(0, 2, 3)) - mean * grad_sum) * inverse_std
        count = world_size() * x.numel() // x.shape[1]
        mean_grad, mean_grad_x = sum_over_ranks(torch.stack([grad_sum, grad_x_sum])) / count
        # dL/dx = w s (g - mean(g) - x_hat mean(g x_hat)), as a multiple of g, one of x, and a rest.
        scale = weight * inverse_std
        slope = scale * inverse_std * mean_grad_x
        rest = slope * mean - scale * mean_grad
        grad_x = grad * scale[:, None, None]
        grad_x -= x * slope[:, None, None]
        grad_x += rest[:, None, None]
        return grad_x, grad_x_sum, grad_sum, None
