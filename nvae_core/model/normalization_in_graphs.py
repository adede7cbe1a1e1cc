"""Batch norm for graphs that a compiler sees: it decides itself what to fuse and what to keep.

Only what the ranks do together is hidden from it, in operators of ours.
"""

from typing import Any, cast

import torch
from torch import Tensor

from nvae_core.config import StatisticsScope
from nvae_core.distributed import gather_over_ranks, sum_over_ranks, world_size
from nvae_core.model.recomputation import measured_once


def moments_of(x: Tensor, scope: StatisticsScope) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each channel over the ranks, with their gradient."""
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    if world_size(scope) == 1:
        return mean, variance
    found = _moments_over_ranks(torch.stack([mean, variance]), scope)
    return found[0], found[1]


def combine_moments(moments: Tensor) -> Tensor:
    """Return mean and biased variance (2, C) of all batches, given those of each, (W, 2, C)."""
    means, variances = moments.unbind(1)
    mean = means.mean(dim=0)
    return torch.stack([mean, (variances + (means - mean).square()).mean(dim=0)])


@torch.library.custom_op("nvae::moments_over_ranks", mutates_args=())
def _moments_over_ranks(local: Tensor, scope: str) -> Tensor:
    found = measured_once(
        lambda: combine_moments(gather_over_ranks(local, cast(StatisticsScope, scope)))
    )
    return found.clone()  # the compiler may reuse its memory


@torch.library.custom_op("nvae::sum_over_ranks", mutates_args=())
def _sum_over_ranks(values: Tensor, scope: str) -> Tensor:
    return sum_over_ranks(values, cast(StatisticsScope, scope))


@_moments_over_ranks.register_fake
@_sum_over_ranks.register_fake
def _like(values: Tensor, scope: str) -> Tensor:
    return torch.empty_like(values)


def _keep(ctx: Any, inputs: tuple[Tensor, str], output: Tensor) -> None:
    local, ctx.scope = inputs
    ctx.save_for_backward(local, output)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    """Follow the gradient of all ranks to the moments of this one.

    With W batches, mean = sum m_i / W and variance = sum (v_i + (m_i - mean)^2) / W.
    """
    local, found = ctx.saved_tensors
    to_mean, to_variance = (_sum_over_ranks(gradient, ctx.scope) / world_size(ctx.scope)).unbind(0)
    offset = local[0] - found[0]
    return torch.stack([to_mean + 2.0 * offset * to_variance, to_variance]), None


_moments_over_ranks.register_autograd(_backward, setup_context=_keep)
