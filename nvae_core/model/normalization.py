"""Batch norm and an activation in one differentiable function, over the batches of all ranks.

It keeps its input only: what the activation saw is computed again in the backward pass.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nvae_core.config import StatisticsScope
from nvae_core.distributed import gather_over_ranks, sum_over_ranks, world_size
from nvae_core.kernels import batch_norm as kernels
from nvae_core.kernels.batch_norm import Totals
from nvae_core.kernels.library import fits
from nvae_core.model.normalization_in_graphs import combine_moments, moments_of
from nvae_core.model.recomputation import measured_once

Activation = Literal["identity", "swish", "elu"]
CODES: dict[Activation, int] = {"identity": 0, "swish": 1, "elu": 2}  # of the kernels
EPSILON = 1e-5


@dataclass(frozen=True)
class Statistics:
    """What an input is normalized by: mean and biased variance of each channel, (C,)."""

    mean: Tensor
    variance: Tensor

    @property
    def inverse_std(self) -> Tensor:
        """One over the standard deviation of each channel."""
        return torch.rsqrt(self.variance + EPSILON)


def activate(z: Tensor, activation: Activation) -> Tensor:
    """Apply an activation to each element."""
    if activation == "swish":
        return F.silu(z)
    return F.elu(z) if activation == "elu" else z


def normalize_by(
    x: Tensor, statistics: Statistics, weight: Tensor, bias: Tensor, *, activation: Activation
) -> Tensor:
    """Normalize x (B, C, H, W) by given statistics, then apply the activation."""
    mean, variance = statistics.mean, statistics.variance
    if not torch.is_grad_enabled() and fits(x):
        code = CODES[activation]
        return kernels.normalize(x, (weight, bias, mean, variance), EPSILON, code)
    return activate(F.batch_norm(x, mean, variance, weight, bias, eps=EPSILON), activation)


def normalize(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    activation: Activation,
    scope: StatisticsScope = "all_ranks",
) -> tuple[Tensor, Statistics]:
    """Normalize x (B, C, H, W) by its statistics over the ranks, which have equal batch sizes.

    Returns:
        The activated tensor, and the statistics, without gradient.
    """
    if torch.compiler.is_compiling():
        exact = x.to(torch.promote_types(x.dtype, weight.dtype))
        mean, variance = moments_of(exact, scope)
        scale = weight * torch.rsqrt(variance + EPSILON)
        z = (exact - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None]
        return activate(z, activation).to(x.dtype), Statistics(mean.detach(), variance.detach())
    y, mean, variance = _Normalize.apply(x, weight, bias, activation, scope)  # type: ignore[no-untyped-call]
    return y, Statistics(mean, variance)


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - `apply` passes by position
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        activation: Activation,
        scope: StatisticsScope,
    ) -> tuple[Tensor, Tensor, Tensor]:
        found = measured_once(lambda: _moments_over_ranks(x, scope, weight.dtype))
        statistics = Statistics(found[0], found[1])
        y = normalize_by(x, statistics, weight, bias, activation=activation)
        ctx.save_for_backward(x, weight, bias, statistics.mean, statistics.variance)
        ctx.activation, ctx.scope = activation, scope
        ctx.mark_non_differentiable(statistics.mean, statistics.variance)
        return y, statistics.mean, statistics.variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, weight, bias, mean, variance = ctx.saved_tensors
        statistics = Statistics(mean, variance)
        backward = _backward_by_kernel if fits(x) else _backward
        found = backward(
            gradients[0], x, statistics, (weight, bias), activation=ctx.activation, scope=ctx.scope
        )
        return (*found, None, None)


def _moments_over_ranks(x: Tensor, scope: StatisticsScope, dtype: torch.dtype) -> Tensor:
    if fits(x):
        local = kernels.moments(x)
    else:
        # On a CPU the statistics would be rounded to the type of x.
        exact = x.to(dtype) if x.device.type == "cpu" else x
        local = torch.stack(torch.batch_norm_update_stats(exact, None, None, 0.0))
    return combine_over_ranks(local, scope)


def combine_over_ranks(local: Tensor, scope: StatisticsScope) -> Tensor:
    """Return mean and biased variance (2, C) over the ranks, given those of this one."""
    if world_size(scope) == 1:
        return local
    return combine_moments(gather_over_ranks(local, scope))


def _backward_by_kernel(
    gradient: Tensor,
    x: Tensor,
    statistics: Statistics,
    affine: tuple[Tensor, Tensor],
    *,
    activation: Activation,
    scope: StatisticsScope,
) -> tuple[Tensor, Tensor, Tensor]:
    parameters = (*affine, statistics.mean, statistics.variance)
    code = CODES[activation]
    if world_size(scope) == 1:
        grad_x, sums = kernels.backward(gradient, x, parameters, EPSILON, code)
    else:
        sums = kernels.sum_gradients(gradient, x, parameters, EPSILON, code)
        totals = total_over_ranks(sums, x, scope)
        grad_x = kernels.finish(gradient, x, parameters, EPSILON, code, totals=totals)
    return grad_x, sums[1] * statistics.inverse_std, sums[0]


def total_over_ranks(sums: Tensor, x: Tensor, scope: StatisticsScope) -> Totals:
    """Return the sums over the rows of all ranks, given those over the rows of x here."""
    count = world_size(scope) * x.numel() // x.shape[1]
    return Totals(sum_over_ranks(sums, scope), count)


def _backward(
    gradient: Tensor,
    x: Tensor,
    statistics: Statistics,
    affine: tuple[Tensor, Tensor],
    *,
    activation: Activation,
    scope: StatisticsScope,
) -> tuple[Tensor, Tensor, Tensor]:
    (weight, bias), mean = affine, statistics.mean
    if activation != "identity":
        z = F.batch_norm(x, mean, statistics.variance, weight, bias, eps=EPSILON)
        gradient = _activation_backward(gradient, z, activation)
    inverse_std = statistics.inverse_std
    is_alone = world_size(scope) == 1
    grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
        gradient,
        x,
        weight,
        *(mean, statistics.variance),  # used if not alone
        *(mean, inverse_std),  # used if alone
        is_alone,
        EPSILON,
        [True] * 3,
    )
    if not is_alone:
        # That took the statistics as constants. They add, with x_hat = (x - mean) s:
        # dL/dx = w s (g - mean(g) - x_hat mean(g x_hat)).
        count = world_size(scope) * x.numel() // x.shape[1]
        sums = sum_over_ranks(torch.stack([grad_bias, grad_weight]), scope)
        mean_grad, mean_grad_x_hat = sums / count
        scale = weight * inverse_std
        slope = scale * inverse_std * mean_grad_x_hat
        offset = slope * mean - scale * mean_grad
        grad_x += torch.addcmul(offset[:, None, None], x, -slope[:, None, None])
    return grad_x, grad_weight, grad_bias


def _activation_backward(gradient: Tensor, z: Tensor, activation: Activation) -> Tensor:
    if activation == "swish":
        through: Tensor = torch.ops.aten.silu_backward(gradient, z)
    else:
        through = torch.ops.aten.elu_backward(gradient, 1.0, 1.0, 1.0, False, z)
    return through
