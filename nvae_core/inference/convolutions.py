"""Convolutions with the batch norms around them folded into weight and bias."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nvae_core.model.batch_norm import BatchNorm
from nvae_core.model.convolutions import Conv2d
from nvae_core.model.normalization import EPSILON


@dataclass(frozen=True)
class Affine:
    """What a batch norm does in evaluation: scale x + shift, per channel."""

    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, norm: BatchNorm) -> "Affine":
        """Return that of a batch norm, by its running statistics."""
        scale = norm.weight * torch.rsqrt(norm.running_var + EPSILON)
        return cls(scale, norm.bias - norm.running_mean * scale)


class Pointwise:
    """A 1x1 convolution."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight.flatten(1).t()  # (Cin, Cout)
        self.num_outputs = len(weight)
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, H, W, Cin) to (B, H, W, Cout)."""
        return self.write(x, x.new_empty(*x.shape[:-1], self.num_outputs))

    def write(self, x: Tensor, y: Tensor) -> Tensor:
        """Write the convolution of x (B, H, W, Cin) into y (B, H, W, Cout)."""
        rows, out = x.flatten(0, 2), y.view(-1, self.num_outputs)
        if self.bias is None:
            torch.mm(rows, self.weight, out=out)
        else:
            torch.addmm(self.bias, rows, self.weight, out=out)
        return y

    def add_to(self, y: Tensor, x: Tensor) -> Tensor:
        """Add the convolution of x (B, H, W, Cin), without its bias, to y (B, H, W, Cout)."""
        y.view(-1, self.num_outputs).addmm_(x.flatten(0, 2), self.weight)
        return y


class Convolution:
    """Any other convolution, of `same` padding."""

    def __init__(self, conv: Conv2d, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.num_outputs = len(weight)
        self.bias = bias
        self._geometry = (conv.stride, conv.padding, conv.dilation, conv.groups)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, H, W, Cin) to (B, H', W', Cout)."""
        y = F.conv2d(x.permute(0, 3, 1, 2), self.weight, self.bias, *self._geometry)  # type: ignore[arg-type]
        return y.permute(0, 2, 3, 1).contiguous()


def fold(conv: Conv2d, *, after: BatchNorm | None = None) -> Pointwise | Convolution:
    """Return a convolution with the batch norm after it."""
    weight, bias = fold_parameters(conv, after)
    if conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1:
        return Pointwise(weight, bias)
    return Convolution(conv, weight, bias)


def fold_parameters(conv: Conv2d, after: BatchNorm | None) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias with the batch norm after it."""
    weight, bias = conv.effective_weight(), conv.bias
    if after is None:
        return weight, bias
    affine = Affine.of(after)
    weight = weight * affine.scale[:, None, None, None]
    return weight, affine.shift if bias is None else torch.addcmul(affine.shift, bias, affine.scale)


def fold_between(conv: Conv2d, before: BatchNorm, after: BatchNorm) -> tuple[Tensor, Affine]:
    """Return the weight with the batch norm before a 1x1 convolution, and what follows it."""
    # Only without padding, which would have to be normalized too.
    assert conv.kernel_size == (1, 1)
    assert conv.bias is None
    inner, outer, weight = Affine.of(before), Affine.of(after), conv.effective_weight()
    shift = torch.addcmul(outer.shift, weight.flatten(1) @ inner.shift, outer.scale)
    return weight * inner.scale[:, None, None], Affine(outer.scale, shift)
