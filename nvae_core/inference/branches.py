"""Branches of the residual cells."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from nvae_core.inference.activations import activate_, activated
from nvae_core.inference.convolutions import Affine, fold
from nvae_core.model.batch_norm import BatchNorm
from nvae_core.model.branches import ActivatedConvolution, InvertedResidualBranch

CACHED_BYTES = 2**20  # of the widest layer of a branch, that are worked on at once on a CPU


def fold_branch(branch: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the branch of a cell, which changes resolution and channels as the cell does."""
    if isinstance(branch, InvertedResidualBranch):
        return FoldedInvertedResidual(branch)
    first, second = cast(nn.Sequential, branch)
    return FoldedConvolutions(cast(ActivatedConvolution, first), cast(ActivatedConvolution, second))


class FoldedConvolutions:
    """Twice an activation and a 3x3 convolution; the second batch norm is in the first one."""

    def __init__(self, first: ActivatedConvolution, second: ActivatedConvolution) -> None:
        norm, inner = first.norm, second.norm
        self.affine = Affine.of(norm) if isinstance(norm, BatchNorm) else None
        self.activation = norm.activation
        self.upsample = first.upsample
        self.first = fold(first.conv, after=inner if isinstance(inner, BatchNorm) else None)
        self.second = fold(second.conv)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, H, W, Cin) to (B, H', W', Cout)."""
        if self.affine is None:
            x = activated(x, self.activation)
        else:
            x = activate_(torch.addcmul(self.affine.shift, x, self.affine.scale), self.activation)
        if self.upsample:
            x = upsample(x)
        return self.second(activate_(self.first(x), self.activation))


class FoldedInvertedResidual:
    """Expand to more channels, depthwise convolution, project: as many images at once as fit."""

    def __init__(self, branch: InvertedResidualBranch) -> None:
        self.upsample = branch.upsample
        self.expand = fold(branch.expand, before=branch.norm_in, after=branch.norm_expanded)
        self.depthwise = fold(branch.depthwise, after=branch.norm_depthwise)
        self.project = fold(branch.project, after=branch.norm_out)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, H, W, Cin) to (B, H', W', Cout)."""
        h = activate_(self.expand(x), "swish")
        if self.upsample:
            h = upsample(h)
        return self.project(activate_(self.depthwise(h), "swish"))


def upsample(x: Tensor) -> Tensor:
    """Double the resolution of (B, H, W, C) by copies of each pixel."""
    return x.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
