"""Residual cells (Fig. 3 of the paper) and the skip connections that change the resolution."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.model.layers import BatchNorm, Conv2d, SqueezeExcitation, WeightNormConv2d

Direction = Literal["same", "down", "up"]
RESIDUAL_SCALE = 0.1


class ResidualCell(nn.Module):
    """skip(x) + 0.1 SE(branch(x)); `down` doubles the channels, `up` halves them."""

    def __init__(
        self, skip: nn.Module, branch: nn.Module, out_channels: int, *, squeeze_excitation: bool
    ) -> None:
        super().__init__()
        self.skip = skip
        self.branch = branch
        self.gate = SqueezeExcitation(out_channels) if squeeze_excitation else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H', W')."""
        skipped: Tensor = self.skip(x)
        residual: Tensor = self.branch(x)
        if self.gate is None:
            return torch.add(skipped, residual, alpha=RESIDUAL_SCALE)
        return torch.addcmul(skipped, residual, self.gate(residual), value=RESIDUAL_SCALE)


def encoder_cell(
    in_channels: int, direction: Direction, *, squeeze_excitation: bool
) -> ResidualCell:
    """Build a cell of two convolutions, each after batch norm and swish (Fig. 3b)."""
    out_channels = _out_channels(in_channels, direction)
    branch = nn.Sequential(
        BatchNormSwishConv(in_channels, out_channels, stride=2 if direction == "down" else 1),
        BatchNormSwishConv(out_channels, out_channels, stride=1),
    )
    skip = _build_skip(in_channels, direction)
    return ResidualCell(skip, branch, out_channels, squeeze_excitation=squeeze_excitation)


def decoder_cell(
    in_channels: int, direction: Direction, *, expansion: int, squeeze_excitation: bool
) -> ResidualCell:
    """Build an inverted-residual cell (Fig. 3a)."""
    out_channels = _out_channels(in_channels, direction)
    branch = InvertedResidual(
        in_channels, out_channels, expansion=expansion, upsample=direction == "up"
    )
    skip = _build_skip(in_channels, direction)
    return ResidualCell(skip, branch, out_channels, squeeze_excitation=squeeze_excitation)


class BatchNormSwishConv(nn.Module):
    """Batch norm, swish, 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.norm = BatchNorm(in_channels)
        self.conv = WeightNormConv2d(in_channels, out_channels, 3, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H / stride, W / stride)."""
        y: Tensor = self.conv(F.silu(self.norm(x)))
        return y


class InvertedResidual(nn.Module):
    """Expand to more channels, 5x5 depthwise convolution, project; batch norm around each."""

    def __init__(
        self, in_channels: int, out_channels: int, *, expansion: int, upsample: bool
    ) -> None:
        super().__init__()
        num_hidden = expansion * in_channels
        self.upsample = upsample
        self.norm_in = BatchNorm(in_channels)
        self.expand = Conv2d(in_channels, num_hidden, 1, bias=False)
        self.norm_expanded = BatchNorm(num_hidden)
        self.depthwise = Conv2d(num_hidden, num_hidden, 5, groups=num_hidden, bias=False)
        self.norm_depthwise = BatchNorm(num_hidden)
        self.project = Conv2d(num_hidden, out_channels, 1, bias=False)
        self.norm_out = BatchNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H', W')."""
        # Upsampling to nearest neighbours commutes with all that comes before the depthwise
        # convolution, and is four times cheaper after it.
        copies = 4 if self.upsample else 1
        x = self.expand(self.norm_in(x, copies))
        x = F.silu(self.norm_expanded(x, copies))
        if self.upsample:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = F.silu(self.norm_depthwise(self.depthwise(x)))
        y: Tensor = self.norm_out(self.project(x))
        return y


class DownSkip(nn.Module):
    """Halve the resolution: four strided 1x1 convolutions, each of another pixel of 2x2."""

    OFFSETS = ((0, 0), (1, 1), (0, 1), (1, 0))  # row, column

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        quarter = out_channels // 4
        widths = (quarter, quarter, quarter, out_channels - 3 * quarter)
        self.convs = nn.ModuleList(
            WeightNormConv2d(in_channels, width, 1, stride=2) for width in widths
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H / 2, W / 2)."""
        x = F.silu(x)
        offsets = zip(self.convs, self.OFFSETS, strict=True)
        return torch.cat([conv(x[:, :, row:, column:]) for conv, (row, column) in offsets], dim=1)


class UpSkip(nn.Module):
    """Double the resolution: bilinear upsampling with aligned corners, then 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = WeightNormConv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, 2H, 2W)."""
        # Both are linear and commute; the convolution is cheaper before.
        return F.interpolate(self.conv(x), scale_factor=2, mode="bilinear", align_corners=True)


def _out_channels(in_channels: int, direction: Direction) -> int:
    if direction == "same":
        return in_channels
    return in_channels * 2 if direction == "down" else in_channels // 2


def _build_skip(in_channels: int, direction: Direction) -> nn.Module:
    if direction == "same":
        return nn.Identity()
    out_channels = _out_channels(in_channels, direction)
    return (DownSkip if direction == "down" else UpSkip)(in_channels, out_channels)
