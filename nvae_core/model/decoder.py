"""The top-down half: from latents to the image, with the prior of each group on the way."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.architecture import Hierarchy, LatentGroup
from nvae_core.config import ModelConfig
from nvae_core.model.cells import build_cells
from nvae_core.model.convolutions import WeightNormConv2d
from nvae_core.model.images import BernoulliImage, ImageDistribution, crop
from nvae_core.model.logistic_mixture import LogisticMixtureImage
from nvae_core.model.normal import RawNormal
from nvae_core.model.precision import in_own_precision


class DecoderGroup(nn.Module):
    """One step down the hierarchy: advance the state, give the prior, take in the sample."""

    def __init__(self, group: LatentGroup, config: ModelConfig, *, state_channels: int) -> None:
        super().__init__()
        self.num_latents = config.num_latents_per_group
        self.cells = build_cells(group.decoder_cells, squeeze_excitation=config.squeeze_excitation)
        self.prior_head = (
            WeightNormConv2d(group.decoder_channels, 2 * self.num_latents, 1)
            if group.index > 0
            else None
        )
        self.combiner = WeightNormConv2d(
            state_channels + self.num_latents, group.decoder_channels, 1
        )

    def advance(self, state: Tensor) -> Tensor:
        """Return the state at this group: (B, C, H, W), or (B, 2C, H / 2, W / 2) before it."""
        advanced: Tensor = self.cells(state)
        return advanced

    def prior(self, state: Tensor) -> RawNormal:
        """Return the prior's parameters, (B, Z, H, W); those of the first group are fixed."""
        if self.prior_head is not None:
            return RawNormal.split(in_own_precision(self.prior_head, F.elu(state)))
        shape = (state.shape[0], self.num_latents, *state.shape[2:])
        zeros = state.new_zeros(shape, dtype=torch.float32)
        return RawNormal(zeros, zeros)

    def combine(self, state: Tensor, z: Tensor) -> Tensor:
        """Return the state (B, C, H, W) after the sample z (B, Z, H, W)."""
        combined: Tensor = self.combiner(torch.cat([state, z.to(state.dtype)], dim=1))
        return combined


class Decoder(nn.Module):
    """Learned top state, decoder tower, post-process and image distribution."""

    def __init__(self, config: ModelConfig, hierarchy: Hierarchy) -> None:
        super().__init__()
        self.config = config
        top = hierarchy.top
        # Without towers there is no state above the only group: it has no channels.
        top_channels = top.decoder_channels if hierarchy.has_towers else 0
        top_shape = (top_channels, top.resolution, top.resolution)
        self.top_state = nn.Parameter(torch.rand(top_shape))
        self.groups = nn.ModuleList(
            DecoderGroup(
                group,
                config,
                state_channels=group.decoder_channels if group.index > 0 else top_channels,
            )
            for group in hierarchy.groups
        )
        self.postprocess = build_cells(
            hierarchy.postprocess, squeeze_excitation=config.squeeze_excitation
        )
        self.image_head = WeightNormConv2d(
            config.num_decoder_channels, hierarchy.image_head_channels, 3
        )

    def steps(self) -> Sequence[DecoderGroup]:
        """Return the groups, top first."""
        return cast(Sequence[DecoderGroup], self.groups)

    def initial_state(self, batch_size: int) -> Tensor:
        """Return the learned state above the first group, (B, C, H, W)."""
        return self.top_state.expand(batch_size, -1, -1, -1)

    def image(self, state: Tensor) -> ImageDistribution:
        """Return the distribution of the image, given the state after the last group."""
        return self.distribution(in_own_precision(self.image_head, F.elu(self.postprocess(state))))

    def distribution(self, parameters: Tensor) -> ImageDistribution:
        """Return the distribution of the image by what the head says, (B, C, R, R)."""
        parameters = crop(parameters.float(), self.config.image_padding)
        if self.config.image_distribution == "bernoulli":
            return BernoulliImage(parameters, self.config.image_padding)
        return LogisticMixtureImage.split(parameters, self.config)
