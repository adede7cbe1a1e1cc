"""Residual cells: skip, branch, and the gate on what the branch adds."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.inference.activations import activated
from nvae_core.inference.branches import fold_branch
from nvae_core.inference.convolutions import fold
from nvae_core.kernels import residual as kernels
from nvae_core.kernels.library import is_usable
from nvae_core.model.cells import (
    RESIDUAL_SCALE,
    DownSkip,
    ResidualCell,
    SqueezeExcitation,
    UpSkip,
)

Layer = Callable[[Tensor], Tensor]


def fold_cells(cells: nn.Sequential) -> list["FoldedCell"]:
    """Return cells that follow each other."""
    return [FoldedCell(cell) for cell in cells if isinstance(cell, ResidualCell)]


def run_cells(cells: list["FoldedCell"], x: Tensor) -> Tensor:
    """Map x (B, H, W, C) through all of them."""
    for cell in cells:
        x = cell(x)
    return x


class FoldedCell:
    """skip(x) + 0.1 SE(branch(x))."""

    def __init__(self, cell: ResidualCell) -> None:
        self.skip = _fold_skip(cell.skip)
        self.branch = fold_branch(cell.branch)
        self.gate = None if cell.gate is None else _gate_parameters(cell.gate)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, H, W, Cin) to (B, H', W', Cout)."""
        skipped = x if self.skip is None else self.skip(x)
        given, affine = self.branch(x), self.branch.affine_after
        if is_usable(given):
            kernels.add_residual(
                skipped, given, (affine.scale, affine.shift), self.gate, RESIDUAL_SCALE
            )
            return given
        residual = torch.addcmul(affine.shift, given, affine.scale)
        if self.gate is None:
            return torch.add(skipped, residual, alpha=RESIDUAL_SCALE, out=residual)
        gates = _gates(residual, self.gate)
        return torch.addcmul(skipped, residual, gates, value=RESIDUAL_SCALE, out=residual)


def _gate_parameters(gate: SqueezeExcitation) -> kernels.GateParameters:
    excite = gate.excite.weight.t().contiguous()
    return gate.squeeze.weight, gate.squeeze.bias, excite, gate.excite.bias


def _gates(residual: Tensor, parameters: kernels.GateParameters) -> Tensor:
    squeeze, squeeze_bias, excite, excite_bias = parameters
    hidden = F.relu(F.linear(residual.mean(dim=(1, 2)), squeeze, squeeze_bias))
    return torch.sigmoid(torch.addmm(excite_bias, hidden, excite))[:, None, None]


def _fold_skip(skip: nn.Module) -> Layer | None:
    if isinstance(skip, DownSkip):
        return FoldedDownSkip(skip)
    return FoldedUpSkip(skip) if isinstance(skip, UpSkip) else None


class FoldedDownSkip:
    """Halve the resolution: one product, of each pixel with the quarter of its channels."""

    def __init__(self, skip: DownSkip) -> None:
        self.convs = [fold(conv) for conv in skip.convs]  # type: ignore[arg-type]
        self.offsets = skip.OFFSETS

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, H, W, Cin) to (B, H / 2, W / 2, Cout)."""
        x = activated(x, "swish")
        parts = zip(self.convs, self.offsets, strict=True)
        return torch.cat([conv(x[:, row:, column:]) for conv, (row, column) in parts], dim=3)


class FoldedUpSkip:
    """Double the resolution: 1x1 convolution, then bilinear upsampling with aligned corners."""

    def __init__(self, skip: UpSkip) -> None:
        self.conv = fold(skip.conv)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, H, W, Cin) to (B, 2H, 2W, Cout)."""
        y = self.conv(x).permute(0, 3, 1, 2)
        y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)
        return y.permute(0, 2, 3, 1).contiguous()
