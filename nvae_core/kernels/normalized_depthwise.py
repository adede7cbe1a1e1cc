"""Batch norm, activation, upsampling and depthwise convolution by one kernel of ours.

`parameters` are weight, bias, mean and biased variance of a batch norm, (C,) each.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nvae_core.kernels.batch_norm import Parameters
from nvae_core.kernels.depthwise import depthwise_fits
from nvae_core.kernels.library import library

MISSING = (None,) * 4  # no batch norm after the convolution


@dataclass(frozen=True)
class Settings:
    """What the kernel does besides; the activation is the number that normalization.h gives it."""

    upsampling: int  # 1 or 2, to nearest neighbours
    activation: int
    epsilon: float


def fits(x: Tensor, weight: Tensor, stride: int) -> bool:
    """Whether the kernel can work on x (B, C, H, W) and the weight (C, 1, k, k)."""
    return depthwise_fits(x, weight, stride)


def forward(
    x: Tensor, parameters: Parameters, weight: Tensor, settings: Settings
) -> tuple[Tensor, Tensor]:
    """Return y (B, C, sH, sW), and its mean and biased variance (2, C)."""
    moments = torch.empty(2, x.shape[1])
    return _run(x, parameters, weight, after=MISSING, moments=moments, settings=settings), moments


def forward_normalized(
    x: Tensor, parameters: Parameters, weight: Tensor, after: Parameters, settings: Settings
) -> Tensor:
    """Return y normalized by the parameters `after`, and activated."""
    pointers = tuple(tensor.data_ptr() for tensor in after)
    return _run(x, parameters, weight, after=pointers, moments=torch.empty(2, 0), settings=settings)


def _run(
    x: Tensor,
    parameters: Parameters,
    weight: Tensor,
    *,
    after: tuple[int | None, ...],
    moments: Tensor,
    settings: Settings,
) -> Tensor:
    y = _empty_output(x, settings)
    mean, variance = moments.unbind(0)
    scratch = _scratch(y)
    library().normalized_depthwise_forward(
        *(x.data_ptr(), *(tensor.data_ptr() for tensor in parameters), settings.epsilon),
        *(weight.data_ptr(), *after, y.data_ptr()),
        *(mean.data_ptr(), variance.data_ptr(), scratch.data_ptr()),
        *(*_sizes(y), settings.upsampling, settings.activation),
    )
    return y


@dataclass(frozen=True)
class NormalizedOutput:
    """y, its batch norm, the gradient t of what that gives, and the sums of t over all ranks."""

    y: Tensor
    parameters: Parameters
    t: Tensor
    sums: Tensor  # of t and of t (y - mean), (2, C)
    count: int  # of rows


def backward(
    after: NormalizedOutput, x: Tensor, parameters: Parameters, weight: Tensor, settings: Settings
) -> tuple[Tensor, Tensor, Tensor]:
    """Return t of x, its sums (2, C), both for `batch_norm.finish`, and the weight's gradient."""
    t, sums = torch.empty_like(x), torch.empty(2, x.shape[1])
    weight_gradient, scratch = torch.empty(weight.shape), _scratch(after.y)
    library().normalized_depthwise_backward(
        *(after.t.data_ptr(), after.y.data_ptr()),
        *(tensor.data_ptr() for tensor in after.parameters),
        *(after.sums[0].data_ptr(), after.sums[1].data_ptr(), after.count),
        *(x.data_ptr(), *(tensor.data_ptr() for tensor in parameters), settings.epsilon),
        *(weight.data_ptr(), t.data_ptr(), sums[0].data_ptr(), sums[1].data_ptr()),
        *(weight_gradient.data_ptr(), scratch.data_ptr()),
        *(*_sizes(after.y), settings.upsampling, settings.activation),
    )
    return t, sums, weight_gradient


def _empty_output(x: Tensor, settings: Settings) -> Tensor:
    batch_size, channels, height, width = x.shape
    factor = settings.upsampling
    shape = (batch_size, channels, factor * height, factor * width)
    return torch.empty(shape, memory_format=torch.channels_last)


def _scratch(y: Tensor) -> Tensor:
    _, _, width, channels = _sizes(y)
    return torch.empty(library().normalized_depthwise_scratch(width, channels))


def _sizes(y: Tensor) -> tuple[int, int, int, int]:
    batch_size, channels, height, width = y.shape
    return batch_size, height, width, channels
