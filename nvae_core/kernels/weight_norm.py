"""Weight normalization of many convolutions by kernels of ours, as one differentiable function."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nvae_core.kernels.library import library


def normalize_weights(
    directions: Sequence[Tensor], log_norms: Sequence[Tensor], epsilon: float
) -> tuple[Tensor, ...]:
    """Return exp(l) v / (|v| + epsilon) for each direction v (Cout, Cin / groups, k, k).

    The directions are such that `library.fits`; l is (Cout, 1, 1, 1), |v| is taken per output
    channel.
    """
    weights: tuple[Tensor, ...] = _NormalizedWeights.apply(  # type: ignore[no-untyped-call]
        epsilon, *directions, *log_norms
    )
    return weights


class _NormalizedWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, epsilon: float, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(tensors) // 2
        weights, norms = [], []
        for v, log_norm in zip(tensors[:count], tensors[count:], strict=True):
            weight, norm = torch.empty_like(v), torch.empty_like(log_norm)
            rows = len(v)
            library().weight_norm_forward(
                *(v.data_ptr(), log_norm.data_ptr(), epsilon),
                *(weight.data_ptr(), norm.data_ptr(), rows, v.numel() // rows),
            )
            weights.append(weight)
            norms.append(norm)
        ctx.save_for_backward(*tensors, *norms)
        ctx.epsilon = epsilon
        return tuple(weights)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        count = len(gradients)
        saved = ctx.saved_tensors
        parts = zip(saved[:count], saved[count : 2 * count], saved[2 * count :], strict=True)
        v_gradients, log_norm_gradients = [], []
        for given, (v, log_norm, norm) in zip(gradients, parts, strict=True):
            gradient = given.contiguous(memory_format=torch.channels_last)
            v_gradient, log_norm_gradient = torch.empty_like(v), torch.empty_like(log_norm)
            rows = len(v)
            library().weight_norm_backward(
                *(gradient.data_ptr(), v.data_ptr(), log_norm.data_ptr(), norm.data_ptr()),
                *(ctx.epsilon, v_gradient.data_ptr(), log_norm_gradient.data_ptr()),
                *(rows, v.numel() // rows),
            )
            v_gradients.append(v_gradient)
            log_norm_gradients.append(log_norm_gradient)
        return (None, *v_gradients, *log_norm_gradients)
