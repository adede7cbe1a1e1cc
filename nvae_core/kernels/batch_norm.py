"""Batch norm and activation by kernels of ours; tensors are such that `library.fits`.

`parameters` are weight, bias, mean and biased variance, (C,) each; `activation` is the number that
batch_norm.c gives it.
"""

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
    gradient: Tensor,
    x: Tensor,
    parameters: Parameters,
    epsilon: float,
    activation: int,
    *,
    is_whole: bool,
) -> tuple[Tensor, Tensor]:
    """Return the gradient of x, and per channel the sums of t and of t (x - mean), (2, C).

    t is the gradient of what the activation gets. If x is not the whole batch that the statistics
    are of, t is returned in place of the gradient of x, for `finish`.
    """
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    channels = x.shape[1]
    t, sums = torch.empty_like(x), torch.empty(2, channels)
    library().batch_norm_backward(
        x.data_ptr(),
        gradient.data_ptr(),
        *(tensor.data_ptr() for tensor in parameters),
        epsilon,
        t.data_ptr(),
        sums[0].data_ptr(),
        sums[1].data_ptr(),
        x.numel() // channels,
        channels,
        is_whole,
        activation,
    )
    return t, sums


def finish(
    t: Tensor, x: Tensor, parameters: Parameters, epsilon: float, *, sums: Tensor, count: int
) -> None:
    """Turn t into the gradient of x, in place, given the sums over `count` rows of all ranks."""
    channels = x.shape[1]
    library().batch_norm_finish(
        x.data_ptr(),
        *(tensor.data_ptr() for tensor in parameters),
        epsilon,
        t.data_ptr(),
        sums[0].data_ptr(),
        sums[1].data_ptr(),
        count,
        x.numel() // channels,
        channels,
    )
