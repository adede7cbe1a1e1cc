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
        local_mean, local_variance = torch.batch_norm_update_stats(x, None, None, 0.0)
        means, variances = gather_over_ranks(torch.stack([local_mean, local_variance])).unbind(1)
        mean = means.mean(dim=0)
        variance = (variances + (means - mean).square()).mean(dim=0)
        y = F.batch_norm(x, mean, variance, weight, bias, eps=epsilon)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.epsilon = epsilon
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, variance = ctx.saved_tensors
        inverse_std = torch.rsqrt(variance + ctx.epsilon)
        # With the statistics taken as constants: grad_x = w s g, and the two sums that follow.
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0],
            x,
            weight,
            mean,
            variance,
            mean,
            inverse_std,
            False,
            ctx.epsilon,
            [True, True, True],
        )
        # What the statistics add: dL/dx = w s (g - mean(g) - x_hat mean(g x_hat)).
        count = world_size() * x.numel() // x.shape[1]
        mean_grad, mean_grad_x_hat = sum_over_ranks(torch.stack([grad_bias, grad_weight])) / count
        scale = weight * inverse_std
        slope = scale * inverse_std * mean_grad_x_hat
        offset = slope * mean - scale * mean_grad
        grad_x += torch.addcmul(offset[:, None, None], x, -slope[:, None, None])
        return grad_x, grad_weight, grad_bias, None
