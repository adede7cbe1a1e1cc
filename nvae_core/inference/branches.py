"""Branches of the residual cells."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from nvae_core.inference.activations import activate_, activated
from nvae_core.inference.convolutions import Affine, Pointwise, fold, fold_parameters
from nvae_core.inference.depthwise import ActivatedDepthwise, upsample
from nvae_core.inference.parts import split_for_cache
from nvae_core.model.batch_norm import BatchNorm
from nvae_core.model.branches import ActivatedConvolution, InvertedResidualBranch


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
        weight, bias = fold_parameters(
            branch.expand, before=branch.norm_in, after=branch.norm_expanded
        )
        self.expand = Pointwise(weight, None)
        weight, bias_after = fold_parameters(branch.depthwise, after=branch.norm_depthwise)
        self.middle = ActivatedDepthwise(
            branch.depthwise,
            weight,
            biases=(bias, bias_after),
            middle="cell",
            upsample=branch.upsample,
        )
        weight, bias = fold_parameters(branch.project, after=branch.norm_out)
        self.project = Pointwise(weight, bias)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, H, W, Cin) to (B, H', W', Cout)."""
        height, width = (self.middle.resize(size) for size in x.shape[1:3])
        y = x.new_empty(len(x), height, width, self.project.num_outputs)
        for part, target in split_for_cache(x, y, num_channels=self.expand.num_outputs):
            self.project.write(self.middle(self.expand(part)), target)
        return y
