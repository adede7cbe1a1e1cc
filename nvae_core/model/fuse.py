"""A model for evaluation: its batch norms and weight norms folded into plain convolutions.

What a batch norm does with its running statistics is scale x + shift per channel; so is a
convolution's weight and bias after it, or before it where the convolution is 1x1.
"""

import copy
from typing import NamedTuple, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.model.batch_norm import EPSILON, BatchNorm
from nvae_core.model.cells import (
    Activate,
    ActivatedConvolution,
    InvertedResidualBranch,
    ResidualCell,
)
from nvae_core.model.convolutions import Conv2d, WeightNormConv2d, channels_last

FROZEN = ("config", "hierarchy")  # attributes that a copy shares
HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
LARGE = 2**20  # values, from which on oneDNN multiplies faster than the library of matrices
Module = TypeVar("Module", bound=nn.Module)


class _Affine(NamedTuple):
    """scale x + shift, per channel (C,)."""

    scale: Tensor
    shift: Tensor


@torch.no_grad()
def fuse(module: Module) -> Module:
    """Return a copy of an NVAE, or of a part, that computes the same with fewer operations.

    It has the statistics and weights of this moment, and cannot be trained.
    """
    frozen = [value for part in module.modules() for value in map(vars(part).get, FROZEN) if value]
    fused = copy.deepcopy(module, {id(value): value for value in frozen})
    fused.eval().requires_grad_(False)
    for part in list(fused.modules()):
        for name, child in part.named_children():
            if isinstance(child, WeightNormConv2d):
                setattr(part, name, _plain(child, child.effective_weight(), child.bias))
    for part in list(fused.modules()):
        if isinstance(part, ResidualCell):
            _fuse_branch(part.branch)
    return fused


def _fuse_branch(branch: nn.Module) -> None:
    if isinstance(branch, InvertedResidualBranch):
        _fuse_inverted_residual(branch)
        return
    first, second = cast(nn.Sequential, branch)
    assert isinstance(first, ActivatedConvolution)
    assert isinstance(second, ActivatedConvolution)
    if isinstance(second.norm, BatchNorm):
        has_swish = second.norm.activation == "swish"
        first.conv = _with_norm_after(first.conv, second.norm, has_swish=has_swish)
        second.norm = Activate("identity" if has_swish else second.norm.activation)


def _fuse_inverted_residual(branch: InvertedResidualBranch) -> None:
    before = _affine_of(branch.norm_in)
    weight = branch.expand.weight  # (Cout, Cin, 1, 1): without padding, which would be normalized
    expand = _plain(
        branch.expand, weight * before.scale[:, None, None], weight.flatten(1) @ before.shift
    )
    branch.expand = _with_norm_after(expand, branch.norm_expanded, has_swish=True)
    branch.depthwise = _with_norm_after(branch.depthwise, branch.norm_depthwise, has_swish=True)
    branch.project = _with_norm_after(branch.project, branch.norm_out)
    for name in ("norm_in", "norm_expanded", "norm_depthwise", "norm_out"):
        setattr(branch, name, Activate("identity"))


def _with_norm_after(
    convolution: Conv2d, norm: BatchNorm, *, has_swish: bool = False
) -> "FusedConvolution":
    after = _affine_of(norm)
    weight = convolution.weight * after.scale[:, None, None, None]
    bias = after.shift
    if convolution.bias is not None:
        bias = torch.addcmul(bias, convolution.bias, after.scale)
    plain = _plain(convolution, weight, bias)
    plain.has_swish = has_swish
    return plain


def _affine_of(norm: BatchNorm) -> _Affine:
    scale = norm.weight * torch.rsqrt(norm.running_var + EPSILON)
    return _Affine(scale, torch.addcmul(norm.bias, norm.running_mean, scale, value=-1))


class FusedConvolution(Conv2d):
    """A convolution that is not trained, and the swish after it, if any."""

    has_swish = False

    def reset_parameters(self) -> None:
        """Leave them: they are replaced."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, Cin, H, W) to (B, Cout, H / stride, W / stride)."""
        is_small = self.is_pointwise and not self.has_swish and x.numel() < LARGE
        if x.device.type != "cpu" or x.dtype != torch.float32 or not HAS_ONEDNN or is_small:
            y = super().forward(x)
            return F.silu(y, inplace=True) if self.has_swish else y
        # oneDNN applies the swish to what is in its registers.
        geometry = (list(self.padding), list(self.stride), list(self.dilation), self.groups)
        operation = "swish" if self.has_swish else "none"
        fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
            channels_last(x), self.weight, self.bias, *geometry, operation, [], None
        )
        return fused


def _plain(like: Conv2d, weight: Tensor, bias: Tensor | None) -> "FusedConvolution":
    """Return a convolution of the same geometry."""
    plain = FusedConvolution(
        like.in_channels,
        like.out_channels,
        like.kernel_size[0],
        stride=like.stride[0],
        dilation=like.dilation[0],
        groups=like.groups,
        bias=bias is not None,
    )
    plain.in_float32 = like.in_float32
    weight = weight.contiguous(memory_format=torch.channels_last)
    plain.weight = nn.Parameter(weight, requires_grad=False)
    plain.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    return plain.eval()
