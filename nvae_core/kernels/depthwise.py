"""Depthwise convolution by kernels of ours.

On a CPU torch's takes twice as long, and its gradient of the weight ten to sixty times as long.
"""

from typing import Any

import torch
from torch import Tensor

from nvae_core.kernels.library import fits, library

KERNEL_SIZE = 5
MIN_CHANNELS = 16  # as many as a block has


def depthwise_fits(x: Tensor, weight: Tensor, stride: int) -> bool:
    """Whether a depthwise convolution of x (B, C, H, W) by weight (C, 1, k, k) is one of these."""
    return (
        stride == 1
        and weight.shape[1:] == (1, KERNEL_SIZE, KERNEL_SIZE)
        and len(weight) >= MIN_CHANNELS
        and weight.dtype == torch.float32
        and fits(x)
    )


def depthwise_convolution(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve x (B, C, H, W) by weight (C, 1, 5, 5), with `same` padding."""
    y: Tensor = _DepthwiseConvolution.apply(x, weight)  # type: ignore[no-untyped-call]
    return y


class _DepthwiseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, is_turned=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        needs_x, needs_weight = ctx.needs_input_grad
        return (
            # A convolution again, with the kernel turned around.
            _convolve(gradient, weight, is_turned=True) if needs_x else None,
            _weight_gradient(x, gradient, weight) if needs_weight else None,
        )


def _convolve(x: Tensor, weight: Tensor, *, is_turned: bool) -> Tensor:
    y = torch.empty_like(x)
    weight = weight.contiguous()
    library().depthwise_forward(
        *(x.data_ptr(), weight.data_ptr(), y.data_ptr(), *_sizes(x), is_turned)
    )
    return y


def _weight_gradient(x: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    found = torch.empty(weight.shape)
    library().depthwise_weight_gradient(
        *(x.data_ptr(), gradient.data_ptr(), found.data_ptr(), *_sizes(x))
    )
    return found


def _sizes(x: Tensor) -> tuple[int, int, int, int]:
    batch_size, channels, height, width = x.shape
    return batch_size, height, width, channels
