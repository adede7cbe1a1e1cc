"""Branches of the residual cells: two convolutions, and the inverted residual."""

import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.architecture import Cell, InvertedResidual, TwoConvolutions
from nvae_core.model.batch_norm import BatchNorm
from nvae_core.model.convolutions import Conv2d, DataInitializedConv2d, WeightNormConv2d
from nvae_core.model.normalization import Activation, activate
from nvae_core.model.normalized_depthwise import (
    Form,
    convolve_normalized,
    normalized_depthwise_fits,
)


def build_branch(cell: Cell) -> nn.Module:
    """Build the branch of a cell, which changes resolution and channels as the cell does."""
    if isinstance(cell.kind, InvertedResidual):
        return InvertedResidualBranch(cell, cell.kind)
    return nn.Sequential(
        ActivatedConvolution(cell, cell.kind, position=0),
        ActivatedConvolution(cell, cell.kind, position=1),
    )


class ActivatedConvolution(nn.Module):
    """Batch norm, swish or ELU, 3x3 convolution; the first of two changes the resolution."""

    def __init__(self, cell: Cell, kind: TwoConvolutions, *, position: int) -> None:
        super().__init__()
        is_first = position == 0
        in_channels = cell.in_channels if is_first else cell.out_channels
        self.upsample = is_first and cell.direction == "up"
        activation = kind.activation
        self.norm = BatchNorm(in_channels, activation) if kind.batch_norm else Activate(activation)
        convolution = WeightNormConv2d if kind.batch_norm else DataInitializedConv2d
        self.conv = convolution(
            in_channels,
            cell.out_channels,
            3,
            stride=2 if is_first and cell.direction == "down" else 1,
            dilation=kind.dilations[position],
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H', W')."""
        x = self.norm(x)
        if self.upsample:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        y: Tensor = self.conv(x)
        return y


class Activate(nn.Module):
    """An activation where there is no batch norm before it."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to each element."""
        return activate(x, self.activation)


class InvertedResidualBranch(nn.Module):
    """Expand to more channels, depthwise convolution, project; batch norm around each."""

    def __init__(self, cell: Cell, kind: InvertedResidual) -> None:
        super().__init__()
        num_hidden = kind.expansion * cell.in_channels
        self.upsample = cell.direction == "up"
        self.norm_in = BatchNorm(cell.in_channels)
        self.expand = Conv2d(cell.in_channels, num_hidden, 1, bias=False)
        self.norm_expanded = BatchNorm(num_hidden, "swish")
        self.depthwise = Conv2d(
            num_hidden,
            num_hidden,
            kind.kernel_size,
            stride=2 if cell.direction == "down" else 1,
            groups=kind.num_convolution_groups or num_hidden,
            bias=False,
        )
        self.norm_depthwise = BatchNorm(num_hidden, "swish")
        self.project = Conv2d(num_hidden, cell.out_channels, 1, bias=False)
        self.norm_out = BatchNorm(cell.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H', W')."""
        # Upsampling to nearest neighbours commutes with all that comes before the depthwise
        # convolution, and is four times cheaper after it.
        copies = 4 if self.upsample else 1
        x = self._convolve_each_channel(self.expand(self.norm_in(x, copies)), copies)
        y: Tensor = self.norm_out(self.project(x))
        return y

    def _convolve_each_channel(self, x: Tensor, copies: int) -> Tensor:
        weight, stride = self.depthwise.weight, self.depthwise.stride[0]
        if self.training and normalized_depthwise_fits(x, weight, stride):
            return self._convolve_in_one(x, copies)
        x = self.norm_expanded(x, copies)
        if self.upsample:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        y: Tensor = self.norm_depthwise(self.depthwise(x))
        return y

    def _convolve_in_one(self, x: Tensor, copies: int) -> Tensor:
        before, after = self.norm_expanded, self.norm_depthwise
        y, x_statistics, y_statistics = convolve_normalized(
            x,
            (before.weight, before.bias),
            self.depthwise.weight,
            (after.weight, after.bias),
            Form(2 if self.upsample else 1, after.scope),
        )
        num_pixels = y.numel() // y.shape[1]
        before.track(x_statistics, num_pixels)
        after.track(y_statistics, num_pixels)
        return y
