"""Batch norm and activation by kernels of ours; tensors are such that `library.fits`.

`parameters` are weight, bias, mean and biased variance, (C,) each; `activation` is the number that
batch_norm.c gives it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nvae_core.kernels.library import library

Parameters = tuple[Tensor, Tensor, Tensor, Tensor]


def moments(x: Tensor) -> Tensor:
    """Return mean and biased variance of each channel of x (B, C, H, W): (2, C)."""
    channels = x.shape[1]
    found = torch.empty(2, channels)
    mean, variance = found.unbind(0)
    library().batch_norm_moments(
        x.data_ptr(), mean.data_ptr(), variance.data_ptr(), x.numel() // channels, channels
    )
    return found


def normalize(x: Tensor, parameters: Parameters, epsilon: float, activation: int) -> Tensor:
    """Normalize x (B, C, H, W) and apply the activation."""
    channels = x.shape[1]
    y = torch.empty_like(x)
    library().batch_norm_forward(
        x.data_ptr(),
        *(tensor.data_ptr() for tensor in parameters),
        epsilon,
        y.data_ptr(),
        x.numel() // channels,
        channels,
        activation,
    )
    return y


def backward(
    gradient: Tensor, x: Tensor, parameters: Parameters, epsilon: float, activation: int
) -> tuple[Tensor, Tensor]:
    """Return the gradient of x, and the sums of `sum_gradients`; x is the whole batch."""
    grad_x = torch.empty_like(x)
    return grad_x, _backward(gradient, x, parameters, epsilon, activation, grad_x.data_ptr())


def sum_gradients(
    gradient: Tensor, x: Tensor, parameters: Parameters, epsilon: float, activation: int
) -> Tensor:
    """Return per channel the sums of t and of t (x - mean), (2, C).

    t is the gradient of what the activation gets.
    """
    return _backward(gradient, x, parameters, epsilon, activation, None)


def _backward(  # noqa: PLR0917 - as the kernel
    gradient: Tensor,
    x: Tensor,
    parameters: Parameters,
    epsilon: float,
    activation: int,
    grad_x: int | None,
) -> Tensor:
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    channels = x.shape[1]
    sums = torch.empty(2, channels)
    library().batch_norm_backward(
        *(x.data_ptr(), gradient.data_ptr()),
        *(*(tensor.data_ptr() for tensor in parameters), epsilon),
        *(grad_x, sums[0].data_ptr(), sums[1].data_ptr()),
        *(x.numel() // channels, channels, activation),
    )
    return sums


@dataclass(frozen=True)
class Totals:
    """The sums of `sum_gradients`, over `count` rows of all ranks."""

    sums: Tensor  # (2, C)
    count: int


def finish(
    gradient: Tensor,
    x: Tensor,
    parameters: Parameters,
    epsilon: float,
    activation: int,
    *,
    totals: Totals,
) -> Tensor:
    """Return the gradient of x."""
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    channels = x.shape[1]
    grad_x = torch.empty_like(x)
    library().batch_norm_finish(
        *(x.data_ptr(), gradient.data_ptr()),
        *(*(tensor.data_ptr() for tensor in parameters), epsilon),
        *(grad_x.data_ptr(), totals.sums[0].data_ptr(), totals.sums[1].data_ptr(), totals.count),
        *(x.numel() // channels, channels, activation),
    )
    return grad_x
