"""Branches of the residual cells."""

from typing import Protocol, cast

import torch
from torch import Tensor, nn

from nvae_core.inference.activations import activate_, activated
from nvae_core.inference.convolutions import (
    Affine,
    Convolution,
    Pointwise,
    fold,
    fold_between,
    fold_parameters,
)
from nvae_core.inference.depthwise import ActivatedDepthwise, upsample
from nvae_core.inference.parts import split_for_cache
from nvae_core.model.batch_norm import BatchNorm
from nvae_core.model.branches import ActivatedConvolution, InvertedResidualBranch
from nvae_core.model.normalization import Statistics, normalize_by


def fold_branch(branch: nn.Module) -> "FoldedBranch":
    """Return the branch of a cell, which changes resolution and channels as the cell does."""
    if isinstance(branch, InvertedResidualBranch):
        return FoldedInvertedResidual(branch)
    first, second = cast(nn.Sequential, branch)
    return FoldedConvolutions(cast(ActivatedConvolution, first), cast(ActivatedConvolution, second))


class FoldedBranch(Protocol):
    """A branch; the residual is its output times a scale, plus a shift."""

    affine_after: Affine

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, H, W, Cin) to (B, H', W', Cout)."""


class FoldedConvolutions:
    """Twice an activation and a 3x3 convolution; the second batch norm is in the first one."""

    def __init__(self, first: ActivatedConvolution, second: ActivatedConvolution) -> None:
        self.norm, inner = first.norm, second.norm
        self.statistics = _copy_statistics(first.norm)
        self.upsample = first.upsample
        self.first = fold(first.conv, after=inner if isinstance(inner, BatchNorm) else None)
        self.activation = inner.activation
        bias, weight = second.conv.bias, second.conv.effective_weight()
        assert bias is not None
        self.second = Convolution(second.conv, weight, None)
        self.affine_after = Affine(torch.ones_like(bias), bias)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, H, W, Cin) to (B, H', W', Cout)."""
        x = self._activated(x)
        if self.upsample:
            x = upsample(x)
        return self.second(activate_(self.first(x), self.activation))

    def _activated(self, x: Tensor) -> Tensor:
        norm = self.norm
        if not isinstance(norm, BatchNorm) or self.statistics is None:
            return activated(x, norm.activation)
        y = normalize_by(
            x.permute(0, 3, 1, 2),
            self.statistics,
            norm.weight,
            norm.bias,
            activation=norm.activation,
        )
        return y.permute(0, 2, 3, 1)


def _copy_statistics(norm: nn.Module) -> Statistics | None:
    """Return the running statistics as they are now: those of the model may change."""
    if not isinstance(norm, BatchNorm):
        return None
    return Statistics(norm.running_mean.clone(), norm.running_var.clone())


class FoldedInvertedResidual:
    """Expand to more channels, depthwise convolution, project: as many images at once as fit."""

    def __init__(self, branch: InvertedResidualBranch) -> None:
        weight, before = fold_between(branch.expand, branch.norm_in, branch.norm_expanded)
        self.expand = Pointwise(weight, None)
        weight, bias = fold_parameters(branch.depthwise, branch.norm_depthwise)
        self.middle = ActivatedDepthwise(
            branch.depthwise,
            weight,
            before=before,
            bias=bias,
            middle="cell",
            upsample=branch.upsample,
        )
        self.project = Pointwise(branch.project.weight, None)
        self.affine_after = Affine.of(branch.norm_out)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, H, W, Cin) to (B, H', W', Cout)."""
        height, width = (self.middle.resize(size) for size in x.shape[1:3])
        y = x.new_empty(len(x), height, width, self.project.num_outputs)
        for part, target in split_for_cache(x, y, num_channels=self.expand.num_outputs):
            self.project.write(self.middle(self.expand(part)), target)
        return y
