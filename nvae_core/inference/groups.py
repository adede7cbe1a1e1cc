"""One group of latents: its way down, prior and posterior."""

import torch
from torch import Tensor

from nvae_core.inference.activations import activated
from nvae_core.inference.cells import fold_cells, run_cells
from nvae_core.inference.convolutions import Convolution, Pointwise, fold
from nvae_core.inference.flows import fold_flow
from nvae_core.model.convolutions import WeightNormConv2d
from nvae_core.model.decoder import DecoderGroup
from nvae_core.model.encoder import PosteriorHead


class FoldedGroup:
    """One step down the hierarchy."""

    def __init__(self, group: DecoderGroup) -> None:
        self.cells = fold_cells(group.cells)
        self.prior_head = None if group.prior_head is None else fold(group.prior_head)
        weight, state_channels = group.combiner.effective_weight(), -group.num_latents
        self.combine_state = Pointwise(weight[:, :state_channels], group.combiner.bias)
        self.combine_z = Pointwise(weight[:, state_channels:], None)

    def advance(self, state: Tensor) -> Tensor:
        """Return the state (B, H, W, C) at this group."""
        return run_cells(self.cells, state)

    def raw_prior(self, state: Tensor) -> Tensor | None:
        """Return the raw parameters of the prior, (B, H, W, 2Z); the first group has none."""
        return None if self.prior_head is None else self.prior_head(activated(state, "elu"))

    def combine(self, state: Tensor, z: Tensor) -> Tensor:
        """Return the state after the sample z (B, H, W, Z); that of the top is (1, H, W, C)."""
        combined = self.combine_state(state)
        if len(combined) != len(z):
            combined = combined.expand(len(z), -1, -1, -1).contiguous()
        return self.combine_z.add_to(combined, z.to(combined.dtype))


class FoldedPosterior:
    """The posterior's parameters: linear in the features, and linear in the state."""

    def __init__(self, head: PosteriorHead) -> None:
        self.sampler = fold(head.sampler)
        self.combiner = None if head.combiner is None else fold(head.combiner)
        self.of_state = None if head.combiner is None else _chain(head.combiner, head.sampler)
        self.flow = fold_flow(head.flow)

    def of_features(self, features: Tensor) -> Tensor:
        """Return the part (B, H, W, 2Z) that the features alone decide."""
        bias = None if self.combiner is None else self.combiner.bias
        return self.sampler(features if bias is None else features + bias)

    def transform(self, z: Tensor) -> Tensor:
        """Return z (B, H, W, Z) after the flow."""
        for transform in self.flow:
            z = transform(z)
        return z


def _chain(combiner: WeightNormConv2d, sampler: WeightNormConv2d) -> Convolution:
    """Return both as one convolution, without a bias."""
    weight = torch.einsum(
        "ochw,ci->oihw", sampler.effective_weight(), combiner.effective_weight().flatten(1)
    )
    return Convolution(sampler, weight, None)
