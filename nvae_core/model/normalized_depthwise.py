"""The middle of an inverted residual as one differentiable function.

Batch norm, swish, upsampling, depthwise convolution, batch norm, swish. It keeps the
inputs of the two batch norms only; what the convolution sees is never written to memory.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nvae_core.config import StatisticsScope
from nvae_core.kernels import batch_norm, normalized_depthwise
from nvae_core.kernels.normalized_depthwise import NormalizedOutput, Settings
from nvae_core.model.normalization import (
    CODES,
    EPSILON,
    Statistics,
    combine_over_ranks,
    total_over_ranks,
)
from nvae_core.model.recomputation import measured_once

IDENTITY, SWISH = CODES["identity"], CODES["swish"]
Affine = tuple[Tensor, Tensor]  # weight and bias of a batch norm, (C,) each


@dataclass(frozen=True)
class Form:
    """What is done besides, which no gradient goes to."""

    upsampling: int  # 1 or 2
    scope: StatisticsScope

    @property
    def settings(self) -> Settings:
        """The same for the kernel."""
        return Settings("cell", EPSILON, self.upsampling)


def normalized_depthwise_fits(x: Tensor, weight: Tensor, stride: int) -> bool:
    """Whether x (B, C, H, W) and weight (C, 1, k, k) are such that the kernel can do it."""
    return normalized_depthwise.fits(x, weight, stride)


def convolve_normalized(
    x: Tensor, before: Affine, weight: Tensor, after: Affine, form: Form
) -> tuple[Tensor, Statistics, Statistics]:
    """Map x (B, C, H, W) to (B, C, sH, sW).

    Returns:
        The activated tensor, and the statistics of both batch norms, without gradient.
    """
    y, *found = _Convolution.apply(x, *before, weight, *after, form)  # type: ignore[no-untyped-call]
    return y, Statistics(found[0], found[1]), Statistics(found[2], found[3])


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        *tensors, form = inputs
        before, weight, after = tuple(tensors[:2]), tensors[2], tuple(tensors[3:])
        x_moments = measured_once(
            lambda: combine_over_ranks(batch_norm.moments(x), form.scope)
        ).unbind(0)
        y, local = normalized_depthwise.forward(x, (*before, *x_moments), weight, form.settings)
        y_moments = measured_once(lambda: combine_over_ranks(local, form.scope)).unbind(0)
        parameters = (*after, *y_moments)
        activated = batch_norm.normalize(y, parameters, EPSILON, SWISH)
        ctx.save_for_backward(x, *before, *x_moments, weight, y, *parameters)
        ctx.form = form
        ctx.mark_non_differentiable(*x_moments, *y_moments)
        return (activated, *x_moments, *y_moments)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, *before, weight, y, after_weight, after_bias, y_mean, y_variance = ctx.saved_tensors
        after = (after_weight, after_bias, y_mean, y_variance)
        scope, settings = ctx.form.scope, ctx.form.settings
        y_sums = batch_norm.sum_gradients(gradients[0], y, after, EPSILON, SWISH)
        totals = total_over_ranks(y_sums, y, scope)
        t, x_sums, grad_weight = normalized_depthwise.backward(
            NormalizedOutput(y, after, gradients[0], totals), x, tuple(before), weight, settings
        )
        totals = total_over_ranks(x_sums, x, scope)
        grad_x = batch_norm.finish(t, x, tuple(before), EPSILON, IDENTITY, totals=totals)
        return (
            *(grad_x, *_affine_gradients(x_sums, before[3])),
            *(grad_weight, *_affine_gradients(y_sums, y_variance)),
            None,
        )


def _affine_gradients(sums: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    return sums[1] * torch.rsqrt(variance + EPSILON), sums[0]
