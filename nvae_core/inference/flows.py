"""Autoregressive flows."""

from typing import cast

from torch import Tensor, nn

from nvae_core.inference.convolutions import Convolution, Pointwise
from nvae_core.inference.depthwise import ActivatedDepthwise
from nvae_core.inference.parts import split_for_cache
from nvae_core.kernels import causal
from nvae_core.kernels.library import is_usable
from nvae_core.model.flows import AutoregressiveTransform


def fold_flow(flow: nn.Sequential) -> list["FoldedTransform"]:
    """Return the transforms of a flow."""
    return [FoldedTransform(cast(AutoregressiveTransform, transform)) for transform in flow]


class FoldedTransform:
    """z' = z + b(z), without what the masks cut off."""

    def __init__(self, transform: AutoregressiveTransform) -> None:
        self.dtype = transform.expand.weight.dtype
        self.is_mirrored = transform.expand.is_mirrored
        weight = transform.expand.effective_weight()
        self.expand = Convolution(transform.expand, weight, None)
        self.expand_seen = Pointwise(causal.seen_weight(weight, is_mirrored=self.is_mirrored), None)
        self.depthwise = ActivatedDepthwise(
            transform.depthwise,
            transform.depthwise.effective_weight(),
            middle="transform",
        )
        self.project = Pointwise(transform.project.effective_weight(), None)
        self.bias = cast(Tensor, transform.project.bias)

    def __call__(self, z: Tensor) -> Tensor:
        """Transform z of (B, H, W, Z)."""
        narrowed = z.to(self.dtype)
        y = narrowed + self.bias if z.dtype == self.dtype else self.bias.expand_as(z).clone()
        for part, target in split_for_cache(narrowed, y, num_channels=self.expand.num_outputs):
            self.project.add_to(target, self.depthwise(self._expand(part)))
        return y if z.dtype == self.dtype else z + y.to(z.dtype)

    def _expand(self, z: Tensor) -> Tensor:
        if is_usable(z):
            return self.expand_seen(causal.gather(z, is_mirrored=self.is_mirrored))
        return self.expand(z)
