"""Autoregressive flows; what the masks cut off is left out."""

from typing import cast

from torch import Tensor, nn

from nvae_core.inference.convolutions import Pointwise, fold
from nvae_core.inference.depthwise import ActivatedDepthwise
from nvae_core.model.flows import AutoregressiveTransform


def fold_flow(flow: nn.Sequential) -> list["FoldedTransform"]:
    """Return the transforms of a flow."""
    return [FoldedTransform(cast(AutoregressiveTransform, transform)) for transform in flow]


class FoldedTransform:
    """z' = z + b(z)."""

    def __init__(self, transform: AutoregressiveTransform) -> None:
        self.dtype = transform.expand.weight.dtype
        self.expand = fold(transform.expand)
        self.depthwise = ActivatedDepthwise(
            transform.depthwise,
            transform.depthwise.effective_weight(),
            biases=(None, None),
            middle="transform",
        )
        self.project = cast(Pointwise, fold(transform.project))

    def __call__(self, z: Tensor) -> Tensor:
        """Transform z of (B, H, W, Z)."""
        h = self.depthwise(self.expand(z.to(self.dtype)))
        return self.project(h).to(z.dtype).add_(z)
