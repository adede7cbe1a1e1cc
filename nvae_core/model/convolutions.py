"""Convolutions: plain, weight-normalized, initialized from data, and autoregressively masked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.distributed import average_over_ranks

EPSILON = 1e-5  # added to the norm of a weight
INITIAL_STD = 5.0  # data-dependent initialization divides the output by this many of its own


class Conv2d(nn.Conv2d):
    """Convolution of `same` padding."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size - 1) // 2,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.in_float32 = False  # whatever autocast says: bf16 has 8 bits, as many as a pixel
        self.is_pointwise = kernel_size == groups == 1
        is_full = stride == dilation == 1 and not bias
        self.is_depthwise = is_full and groups == in_channels == out_channels

    def effective_weight(self) -> Tensor:
        """Return the weight that the convolution applies, (Cout, Cin / groups, k, k)."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H / stride, W / stride)."""
        if self.in_float32 and _is_autocast(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self._convolve(x.to(self.weight.dtype))
        return self._convolve(x)

    def _convolve(self, x: Tensor) -> Tensor:
        weight = self.effective_weight()
        if x.device.type == "cpu" and x.dtype == torch.float32:
            if self.is_pointwise:
                return _convolve_pixels(x, weight, self.bias, stride=self.stride[0])
            if self.is_depthwise and weight.requires_grad and _is_eager():
                y: Tensor = _DepthwiseConvolution.apply(x, weight, self.padding[0])  # type: ignore[no-untyped-call]
                return y
        plain: Tensor = self._conv_forward(x, weight, self.bias)
        return plain


def _is_eager() -> bool:
    return not (torch.compiler.is_compiling() or _is_autocast("cpu"))


def _is_autocast(device_type: str) -> bool:
    return device_type != "meta" and torch.is_autocast_enabled(device_type)


class WeightNormConv2d(Conv2d):
    """Convolution whose weight has a learned norm per output channel (weight normalization)."""

    held_weight: Tensor | None = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.log_weight_norm = nn.Parameter(torch.log(_norm(self.weight.detach()) + 0.01))

    def effective_weight(self) -> Tensor:
        """Return the weight that is held, or compute it."""
        return self.normalize_weight() if self.held_weight is None else self.held_weight

    def normalize_weight(self) -> Tensor:
        """Return exp(l) v / (|v| + 1e-5), the norm taken per output channel."""
        direction = self.direction()
        scale = self.log_weight_norm.exp() / (_norm(direction) + EPSILON)
        return torch.mul(direction, scale)

    def direction(self) -> Tensor:
        """Return v, of the shape of the weight."""
        return self.weight


class MaskedConv2d(WeightNormConv2d):
    """Convolution that sees, in raster order, only what precedes its output (PixelCNN).

    At the same pixel it sees the channels before its own; its own too, unless it is `strict`.
    `mirrored` reverses the order of the pixels, not that of the channels.
    """

    mask: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        strict: bool,
        mirrored: bool,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, groups=groups, bias=bias)
        self.is_mirrored = mirrored
        mask = autoregressive_mask(
            in_channels, out_channels, kernel_size, groups=groups, strict=strict, mirrored=mirrored
        )
        self.register_buffer("mask", mask, persistent=False)
        with torch.no_grad():
            self.log_weight_norm.copy_(torch.log(_norm(self.direction()) + 0.01))

    def direction(self) -> Tensor:
        """Return the masked v, of the shape of the weight."""
        return self.weight * self.mask


def autoregressive_mask(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    groups: int,
    strict: bool,
    mirrored: bool,
) -> Tensor:
    """Return a mask of zeros and ones, (Cout, Cin / groups, k, k); groups is 1 or Cin."""
    center = kernel_size // 2
    mask = torch.zeros(out_channels, in_channels // groups, kernel_size, kernel_size)
    mask[:, :, :center] = 1.0
    mask[:, :, center, :center] = 1.0
    if groups == 1:
        # Channels of both sides in as many blocks as the narrower side has channels.
        num_blocks = min(in_channels, out_channels)
        out_block = torch.arange(out_channels)[:, None] // (out_channels // num_blocks)
        in_block = torch.arange(in_channels)[None, :] // (in_channels // num_blocks)
        mask[:, :, center, center] = (in_block < out_block if strict else in_block <= out_block).to(
            mask.dtype
        )
    else:
        mask[:, :, center, center] = float(not strict)
    return mask.flip(2, 3) if mirrored else mask


class DataInitializedConv2d(WeightNormConv2d):
    """Weight-normalized convolution that `initialize_from_data` fits to its first inputs."""

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Choose norm and bias so that the output for x has mean 0 and deviation 1/5."""
        unit_weight = self.weight / (_norm(self.weight) + EPSILON)
        y = self._conv_forward(x, unit_weight, None)
        if y[:, 0].numel() < 2:
            return  # a single value has no deviation
        std, mean = torch.std_mean(y, dim=(0, 2, 3))
        average_over_ranks([std, mean])
        divisor = INITIAL_STD * std + 1e-5
        if self.bias is not None:
            self.bias.copy_(-mean / divisor)
        self.log_weight_norm.copy_(-divisor.log()[:, None, None, None])


def channels_last(x: Tensor) -> Tensor:
    """Return x (B, C, H, W) with the channels of a pixel side by side in memory."""
    return x.contiguous(memory_format=torch.channels_last)


@contextmanager
def fit_to_data(model: nn.Module) -> Iterator[None]:
    """Fit each `DataInitializedConv2d` that runs within the block to its input, in their order."""
    hooks = [
        module.register_forward_pre_hook(lambda convolution, inputs: convolution.fit(inputs[0]))
        for module in model.modules()
        if isinstance(module, DataInitializedConv2d)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def hold_weights(model: nn.Module) -> Iterator[None]:
    """Normalize each weight once, for all uses until the end of the block."""
    convolutions = [module for module in model.modules() if isinstance(module, WeightNormConv2d)]
    try:
        for convolution in convolutions:
            convolution.held_weight = convolution.normalize_weight()
        yield
    finally:
        for convolution in convolutions:
            convolution.held_weight = None


def _convolve_pixels(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int) -> Tensor:
    """Convolve x (B, Cin, H, W) by a weight (Cout, Cin, 1, 1), on a CPU.

    Where there is AVX2 without AVX-512, oneDNN's weight gradient of strided 1x1 convolutions of few
    channels damages the heap; so the pixels are chosen before.
    """
    if stride > 1:
        x = x[:, :, ::stride, ::stride]
    if torch.compiler.is_compiling() or not _is_matrix(x):
        return F.conv2d(x, weight, bias)
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


def _is_matrix(x: Tensor) -> bool:
    """Whether x (B, C, H, W) holds the channels of a pixel together: a product is faster then."""
    return x.stride(1) == 1 or x.is_contiguous(memory_format=torch.channels_last)


class _DepthwiseConvolution(torch.autograd.Function):
    """Depthwise convolution of stride 1 on a CPU.

    The gradient of its weight is a depthwise convolution too, of one image whose channels are
    those of the batch side by side, by the gradient of the output: half the time of oneDNN's.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return F.conv2d(x, weight, padding=padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,), (x, weight), padding = gradients, ctx.saved_tensors, ctx.padding
        batch_size, num_channels, height, width = x.shape
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            # Convolved by the weight turned round.
            turned = weight.flip(2, 3)
            grad_x = F.conv2d(gradient, turned, padding=padding, groups=num_channels)
        if ctx.needs_input_grad[1]:
            num_groups = batch_size * num_channels
            side_by_side = x.permute(2, 3, 0, 1).reshape(1, height, width, num_groups)
            kernels = gradient.reshape(num_groups, 1, height, width)
            per_image = F.conv2d(
                side_by_side.permute(0, 3, 1, 2), kernels, padding=padding, groups=num_groups
            )
            sums = per_image.view(batch_size, num_channels, *weight.shape[2:]).sum(dim=0)
            grad_weight = sums[:, None]
        return grad_x, grad_weight, None


def _norm(weight: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)
    return norm
