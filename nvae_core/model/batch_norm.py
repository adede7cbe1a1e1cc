"""Batch norm with statistics over the batches of several ranks, and the activation after it."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.config import StatisticsScope
from nvae_core.distributed import gather_over_ranks, sum_over_ranks, world_size
from nvae_core.model.activation_checkpointing import measured_once

BATCH_NORM_MOMENTUM = 0.05
EPSILON = 1e-5
Activation = Literal["identity", "swish", "elu"]


class BatchStatistics(NamedTuple):
    """What a batch was normalized by: of each channel (C,), without gradient."""

    mean: Tensor
    inverse_std: Tensor  # 1 / sqrt(biased variance + EPSILON)
    num_values: int  # of values of a channel, on all ranks in scope


class BatchNorm(nn.Module):
    """Batch norm with statistics over the batches of the ranks in scope, then an activation.

    In training it leaves the statistics of its batch in `batch_statistics`; the running ones
    follow when `RunningStatistics` says so.
    """

    scope: StatisticsScope = "all_ranks"
    batch_statistics: BatchStatistics | None = None
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_channels: int, activation: Activation = "identity") -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))

    def forward(self, x: Tensor, copies: int = 1) -> Tensor:
        """Normalize and activate (B, C, H, W).

        `copies` says how many equal pixels each one stands for, where the nearest-neighbour
        upsampling that precedes this layer is done after it: the output is the same.
        """
        if not self.training:
            z = F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=EPSILON
            )
            return activate(z, self.activation)
        moments = None
        if world_size(self.scope) > 1:
            moments = measured_once(lambda: _moments_over_ranks(x.detach(), self.scope))
        y, mean, inverse_std = _Normalize.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, moments, self.activation, self.scope
        )
        count = world_size(self.scope) * copies * x.numel() // x.shape[1]
        self.batch_statistics = BatchStatistics(mean, inverse_std, count)
        return cast(Tensor, y)


class RunningStatistics:
    """The running statistics of all batch norms of a model, in one tensor."""

    def __init__(self, model: nn.Module) -> None:
        self._norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
        self._sizes = [len(norm.running_mean) for norm in self._norms]
        device = next(model.parameters()).device
        self.values = torch.zeros(2, sum(self._sizes), device=device)
        self._unbias: Tensor | None = None
        for norm, mean, variance in zip(self._norms, *self._split(), strict=True):
            mean.copy_(norm.running_mean)
            variance.copy_(norm.running_var)
            norm.running_mean, norm.running_var = mean, variance

    def take_batch(self) -> Tensor:
        """Return means and unbiased variances of the last batch (2, C), all norms one by one."""
        batches = [cast(BatchStatistics, norm.batch_statistics) for norm in self._norms]
        if not batches:
            return self.values
        if self._unbias is None:
            factors = torch.tensor([b.num_values / max(b.num_values - 1, 1) for b in batches])
            per_channel = factors.repeat_interleave(torch.tensor(self._sizes))
            self._unbias = per_channel.to(self.values.device)
        means = torch.cat([batch.mean for batch in batches])
        variances = torch.cat([batch.inverse_std for batch in batches]).pow_(-2).sub_(EPSILON)
        for norm in self._norms:
            norm.batch_statistics = None
        return torch.stack([means, variances.mul_(self._unbias)])

    def follow(self, batches: Sequence[Tensor], is_taken: Tensor | None = None) -> None:
        """Move towards the statistics of batches, (2, C) each, unless a flag on the device is 0."""
        for batch in batches:
            # Not a product with 0: they may not be finite.
            target = batch
            if is_taken is not None:
                target = torch.where(is_taken > 0, batch, self.values)
            self.values.lerp_(target, BATCH_NORM_MOMENTUM)

    def _split(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        return torch.split(self.values[0], self._sizes), torch.split(self.values[1], self._sizes)


def normalize_over(model: nn.Module, scope: StatisticsScope) -> None:
    """Let all batch norms of a model take their statistics over these ranks."""
    for norm in batch_norms_of(model):
        norm.scope = scope


def batch_norms_of(model: nn.Module) -> list[BatchNorm]:
    """Return the batch norms of a model, in the order of its modules."""
    return [module for module in model.modules() if isinstance(module, BatchNorm)]


def activate(z: Tensor, activation: Activation) -> Tensor:
    """Apply an activation to each element."""
    if activation == "swish":
        return F.silu(z)
    return F.elu(z) if activation == "elu" else z


class _Normalize(torch.autograd.Function):
    """Normalize by the statistics of the batch, or by the moments (2, C) of all; and activate.

    It keeps its input only: what the activation saw is computed again in the backward pass.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - `apply` passes by position
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        moments: Tensor | None,
        activation: Activation,
        scope: StatisticsScope,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)  # of the statistics
        if moments is None:
            z, mean, inverse_std = torch.native_batch_norm(
                x, weight, bias, None, None, True, 0.0, EPSILON
            )
        else:
            mean, variance = moments.unbind(0)
            z = F.batch_norm(x, mean, variance, weight, bias, eps=EPSILON)
            inverse_std = torch.rsqrt(variance + EPSILON)
        ctx.save_for_backward(x, weight, bias, mean, inverse_std)
        ctx.activation, ctx.scope = activation, scope
        ctx.mark_non_differentiable(mean, inverse_std)
        return activate(z, activation), mean, inverse_std

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        x, weight, bias, mean, inverse_std = ctx.saved_tensors
        gradient, is_alone = gradients[0], world_size(ctx.scope) == 1
        is_identity = ctx.activation == "identity"
        variance = mean if is_identity and is_alone else inverse_std.pow(-2) - EPSILON
        if not is_identity:
            z = F.batch_norm(x, mean, variance, weight, bias, eps=EPSILON)
            gradient = _activation_backward(gradient, z, ctx.activation)
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            gradient,
            x,
            weight,
            *(mean, variance),  # used if not alone: as constants
            *(mean, inverse_std),  # used if alone
            is_alone,
            EPSILON,
            [True] * 3,
        )
        if not is_alone:
            # The statistics add, with x_hat = (x - mean) s:
            # dL/dx = w s (g - mean(g) - x_hat mean(g x_hat)), the means over all ranks.
            count = world_size(ctx.scope) * x.numel() // x.shape[1]
            sums = sum_over_ranks(torch.stack([grad_bias, grad_weight]), ctx.scope)
            mean_grad, mean_grad_x_hat = sums / count
            scale = weight * inverse_std
            slope = scale * inverse_std * mean_grad_x_hat
            offset = slope * mean - scale * mean_grad
            grad_x = grad_x + torch.addcmul(offset[:, None, None], x, -slope[:, None, None])
        return grad_x.to(x.dtype), grad_weight, grad_bias, None, None, None


def _activation_backward(gradient: Tensor, z: Tensor, activation: Activation) -> Tensor:
    if activation == "swish":
        through: Tensor = torch.ops.aten.silu_backward(gradient, z)
    else:
        through = torch.ops.aten.elu_backward(gradient, 1.0, 1.0, 1.0, False, z)
    return through


def _moments_over_ranks(x: Tensor, scope: StatisticsScope) -> Tensor:
    """Return mean and biased variance (2, C) of the batches of all ranks, of equal sizes."""
    variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
    means, variances = gather_over_ranks(torch.stack([mean, variance]), scope).unbind(1)
    total = means.mean(dim=0)
    return torch.stack([total, (variances + (means - total).square()).mean(dim=0)])
