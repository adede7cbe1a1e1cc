"""Residual cells (Fig. 3 of the paper): their branches, gates and skip connections."""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.architecture import Cell, InvertedResidual, TwoConvolutions
from nvae_core.model.activation_checkpointing import CheckpointedSequential
from nvae_core.model.batch_norm import Activation, BatchNorm, activate
from nvae_core.model.convolutions import (
    Conv2d,
    DataInitializedConv2d,
    WeightNormConv2d,
    channels_last,
)

RESIDUAL_SCALE = 0.1


def build_cells(cells: Sequence[Cell], *, squeeze_excitation: bool) -> CheckpointedSequential:
    """Build cells that follow each other."""
    return CheckpointedSequential(
        *(ResidualCell(cell, squeeze_excitation=squeeze_excitation) for cell in cells)
    )


class ResidualCell(nn.Module):
    """skip(x) + 0.1 SE(branch(x)); `down` doubles the channels, `up` halves them."""

    def __init__(self, cell: Cell, *, squeeze_excitation: bool) -> None:
        super().__init__()
        self.skip = _build_skip(cell)
        self.branch = build_branch(cell)
        self.gate = SqueezeExcitation(cell.out_channels) if squeeze_excitation else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H', W')."""
        skipped: Tensor = self.skip(x)
        residual: Tensor = self.branch(x)
        if self.gate is None:
            return torch.add(skipped, residual, alpha=RESIDUAL_SCALE)
        y: Tensor = self.gate(skipped, residual)
        return y


class SqueezeExcitation(nn.Module):
    """Add a branch by a gate per image and channel, computed from the means over space."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        num_hidden = max(num_channels // 16, 4)
        self.squeeze = nn.Linear(num_channels, num_hidden)
        self.excite = nn.Linear(num_hidden, num_channels)

    def forward(self, skipped: Tensor, residual: Tensor) -> Tensor:
        """Return skipped + 0.1 gate(residual) residual, all (B, C, H, W)."""
        layers = (self.squeeze.weight, self.squeeze.bias, self.excite.weight, self.excite.bias)
        y: Tensor = _GatedSum.apply(skipped, residual, *layers)  # type: ignore[no-untyped-call]
        return y


class _GatedSum(torch.autograd.Function):
    """One function: torch's graph would write two more tensors of the branch's size to memory."""

    @staticmethod
    def forward(ctx: Any, skipped: Tensor, residual: Tensor, *layers: Tensor) -> Tensor:
        squeeze, squeeze_bias, excite, excite_bias = (layer.to(residual.dtype) for layer in layers)
        means = residual.mean(dim=(2, 3))
        hidden = F.relu(F.linear(means, squeeze, squeeze_bias))
        gates = torch.sigmoid(F.linear(hidden, excite, excite_bias))
        ctx.save_for_backward(residual, means, hidden, gates, squeeze, excite)
        return torch.addcmul(skipped, residual, gates[:, :, None, None], value=RESIDUAL_SCALE)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        residual, means, hidden, gates, squeeze, excite = ctx.saved_tensors
        gradient = gradients[0].to(residual.dtype)
        num_pixels = residual.shape[2] * residual.shape[3]
        to_gates = (gradient * residual).sum(dim=(2, 3)) * RESIDUAL_SCALE
        to_excited = torch.ops.aten.sigmoid_backward(to_gates, gates)
        to_hidden = torch.ops.aten.threshold_backward(to_excited @ excite, hidden, 0)
        to_means = to_hidden @ squeeze / num_pixels
        to_residual = torch.addcmul(
            to_means[:, :, None, None], gradient, gates[:, :, None, None], value=RESIDUAL_SCALE
        )
        return (
            *(gradients[0], to_residual),
            *(to_hidden.T @ means, to_hidden.sum(dim=0)),
            *(to_excited.T @ hidden, to_excited.sum(dim=0)),
        )


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
        pixels = channels_last(F.silu(x)).permute(0, 2, 3, 1)
        # Those that a convolution sees, side by side: four of (B, H / 2, W / 2, Cin).
        batch_size, height, width, channels = pixels.shape
        blocks = pixels.view(batch_size, height // 2, 2, width // 2, 2, channels)
        corners = blocks.permute(2, 4, 0, 1, 3, 5).flatten(0, 1).contiguous().unbind(0)
        parts = [
            F.linear(corners[2 * row + column], conv.effective_weight().flatten(1), conv.bias)
            for conv, (row, column) in zip(
                cast(Sequence[Conv2d], self.convs), self.OFFSETS, strict=True
            )
        ]
        return torch.cat(parts, dim=3).permute(0, 3, 1, 2)


class UpSkip(nn.Module):
    """Double the resolution: bilinear upsampling with aligned corners, then 1x1 convolution.

    The upsampling is a matrix product per axis: torch's own adds its gradient up atomically on a
    GPU, in another order each time.
    """

    interpolation: Tensor

    def __init__(self, in_channels: int, out_channels: int, in_resolution: int) -> None:
        super().__init__()
        self.conv = WeightNormConv2d(in_channels, out_channels, 1, bias=False)
        matrix = _interpolation(in_resolution)
        self.register_buffer("interpolation", matrix, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, R, R) to (B, Cout, 2R, 2R)."""
        # Both are linear and commute; the convolution is cheaper before.
        pixels = self.conv(x).permute(0, 2, 3, 1)  # (B, R, R, C)
        matrix = self.interpolation.to(pixels.dtype)
        wide = (matrix @ pixels).flatten(2)  # (B, R, 2R C)
        tall = matrix @ wide
        y: Tensor = tall.unflatten(2, (-1, pixels.shape[3])).permute(0, 3, 1, 2)
        return y


def _interpolation(size: int) -> Tensor:
    """Return the matrix (2 size, size) of linear interpolation from the first to the last."""
    positions = torch.arange(2 * size, dtype=torch.float64) * (size - 1) / (2 * size - 1)
    distances = (positions[:, None] - torch.arange(size)).abs()
    return (1 - distances).clamp_min(0).float()


def _build_skip(cell: Cell) -> nn.Module:
    if cell.direction == "same":
        return nn.Identity()
    if cell.direction == "down":
        return DownSkip(cell.in_channels, cell.out_channels)
    return UpSkip(cell.in_channels, cell.out_channels, cell.in_resolution)


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
        self.conv: Conv2d = convolution(
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

    def forward(self, x: Tensor, copies: int = 1) -> Tensor:
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
        x = self.norm_expanded(self.expand(self.norm_in(x, copies)), copies)
        if self.upsample:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        y: Tensor = self.norm_out(self.project(self.norm_depthwise(self.depthwise(x))))
        return y
