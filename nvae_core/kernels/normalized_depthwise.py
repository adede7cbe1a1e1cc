"""Batch norm, activation, upsampling and depthwise convolution by one kernel of ours.

`parameters` are weight, bias, mean and biased variance of a batch norm, (C,) each.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nvae_core.kernels.batch_norm import Parameters, Totals
from nvae_core.kernels.depthwise import depthwise_fits
from nvae_core.kernels.library import library

MISSING = (None,) * 4  # no batch norm after the convolution

Middle = Literal["cell", "transform"]


@dataclass(frozen=True)
class Settings:
    """What the kernel does besides.

    In a cell swish follows both batch norms; in a transform ELU the first, and twice the second.
    """

    middle: Middle
    epsilon: float
    upsampling: int = 1  # or 2, to nearest neighbours

    @property
    def numbers(self) -> tuple[int, int]:
        """Upsampling and number of the middle, as the kernel wants them."""
        return self.upsampling, 0 if self.middle == "cell" else 1


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
    """Return what follows from y by a batch norm of the parameters `after`, and activation."""
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
        *(*_sizes(y), *settings.numbers),
    )
    return y


@dataclass(frozen=True)
class NormalizedOutput:
    """y, the batch norm after it, the gradient of what follows from that, and its totals."""

    y: Tensor
    parameters: Parameters
    gradient: Tensor
    totals: Totals


def backward(
    after: NormalizedOutput, x: Tensor, parameters: Parameters, weight: Tensor, settings: Settings
) -> tuple[Tensor, Tensor, Tensor]:
    """Return t, its sums, and the gradient of the weight.

    t is the gradient of what the first activation gets; the sums are those of
    `batch_norm.sum_gradients`.
    """
    gradient = after.gradient.contiguous(memory_format=torch.channels_last)
    sums_after = after.totals.sums
    t, sums = torch.empty_like(x), torch.empty(2, x.shape[1])
    weight_gradient, scratch = torch.empty(weight.shape), _scratch(after.y)
    library().normalized_depthwise_backward(
        *(gradient.data_ptr(), after.y.data_ptr()),
        *(tensor.data_ptr() for tensor in after.parameters),
        *(sums_after[0].data_ptr(), sums_after[1].data_ptr(), after.totals.count),
        *(x.data_ptr(), *(tensor.data_ptr() for tensor in parameters), settings.epsilon),
        *(weight.data_ptr(), t.data_ptr(), sums[0].data_ptr(), sums[1].data_ptr()),
        *(weight_gradient.data_ptr(), scratch.data_ptr()),
        *(*_sizes(after.y), *settings.numbers),
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
