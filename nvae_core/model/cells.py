"""Residual cells (Fig. 3 of the paper) and the skip connections that change the resolution."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.architecture import Cell
from nvae_core.model.branches import build_branch
from nvae_core.model.convolutions import WeightNormConv2d
from nvae_core.model.gated_sum import Layers, add_gated, gated_sum_fits
from nvae_core.model.recomputation import RecomputedSequential

RESIDUAL_SCALE = 0.1


def build_cells(cells: Sequence[Cell], *, squeeze_excitation: bool) -> RecomputedSequential:
    """Build cells that follow each other."""
    return RecomputedSequential(
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
        if gated_sum_fits(skipped, residual):
            return add_gated(skipped, residual, self.gate.layers(), RESIDUAL_SCALE)
        return torch.addcmul(skipped, residual, self.gate(residual), value=RESIDUAL_SCALE)


class SqueezeExcitation(nn.Module):
    """Gate per image and channel, computed from the means over space."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        num_hidden = max(num_channels // 16, 4)
        self.squeeze = nn.Linear(num_channels, num_hidden)
        self.excite = nn.Linear(num_hidden, num_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gates of (B, C, H, W): (B, C, 1, 1) in (0, 1)."""
        gates = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean(dim=(2, 3))))))
        return gates[:, :, None, None]

    def layers(self) -> Layers:
        """Return the parameters."""
        return self.squeeze.weight, self.squeeze.bias, self.excite.weight, self.excite.bias


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


def _build_skip(cell: Cell) -> nn.Module:
    if cell.direction == "same":
        return nn.Identity()
    skip = DownSkip if cell.direction == "down" else UpSkip
    return skip(cell.in_channels, cell.out_channels)
