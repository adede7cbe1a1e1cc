"""The top-down half: from latents to the image, with the prior of each group on the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nvae_core.architecture import Hierarchy, LatentGroup
from nvae_core.config import ModelConfig
from nvae_core.model.cells import build_cells
from nvae_core.model.convolutions import WeightNormConv2d, channels_last
from nvae_core.model.distributions import (
    BernoulliImage,
    ImageDistribution,
    LogisticMixtureImage,
    Normal,
    crop,
)
from nvae_core.seeding import Noise, take_noise

NOTHING_FIXED: Mapping[int, Tensor] = MappingProxyType({})


@dataclass(frozen=True)
class PriorSample:
    """The distribution of images at latents drawn from the prior, and those latents."""

    image: ImageDistribution
    latents: tuple[Tensor, ...]  # (B, Z, H, W) each, top first


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
        if self.prior_head is not None:
            self.prior_head.in_float32 = True
        self.combiner = WeightNormConv2d(
            state_channels + self.num_latents, group.decoder_channels, 1
        )

    def advance(self, state: Tensor) -> Tensor:
        """Return the state at this group: (B, C, H, W), or (B, 2C, H / 2, W / 2) before it."""
        advanced: Tensor = self.cells(state)
        return advanced

    def prior(self, state: Tensor) -> Tensor:
        """Return the prior's raw parameters, (B, 2Z, H, W); those of the first group are 0."""
        if self.prior_head is None:
            shape = (state.shape[0], 2 * self.num_latents, *state.shape[2:])
            return state.new_zeros(shape, dtype=torch.float32)
        raw: Tensor = self.prior_head(F.elu(state))
        return raw

    def combine(self, state: Tensor, z: Tensor) -> Tensor:
        """Return the state (B, C, H, W) after the sample z (B, Z, H, W)."""
        combined: Tensor = self.combiner(torch.cat([state, z.to(state.dtype)], dim=1))
        return combined


class Decoder(nn.Module):
    """Learned top state, decoder tower, post-process and image distribution."""

    def __init__(self, config: ModelConfig, hierarchy: Hierarchy) -> None:
        super().__init__()
        self.config = config
        self.hierarchy = hierarchy
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
        self.image_head.in_float32 = True

    def steps(self) -> Sequence[DecoderGroup]:
        """Return the groups, top first."""
        return cast(Sequence[DecoderGroup], self.groups)

    def initial_state(self, batch_size: int) -> Tensor:
        """Return the learned state above the first group, (B, C, H, W)."""
        return channels_last(self.top_state.expand(batch_size, -1, -1, -1))

    def noise_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Return the shape of each group's noise, top first: (B, Z, H, W)."""
        return self.hierarchy.latent_shapes(self.config.num_latents_per_group, batch_size)

    def generate(
        self,
        noise: Noise,
        *,
        batch_size: int,
        temperature: float = 1.0,
        fixed: Mapping[int, Tensor] = NOTHING_FIXED,
    ) -> PriorSample:
        """Sample the prior from the top down, its standard deviations scaled by temperature.

        `fixed` gives the latents (B, Z, H, W) of some groups by index, in place of samples.
        """
        draws = take_noise(noise, self.noise_shapes(batch_size))
        state = self.initial_state(batch_size)
        latents: list[Tensor] = []
        for index, group in enumerate(self.steps()):
            state = group.advance(state)
            z = fixed.get(index)
            if z is None:
                prior = Normal.from_raw(group.prior(state), temperature)
                z = prior.sample(channels_last(draws[index]))
            state = group.combine(state, z)
            latents.append(z)
        return PriorSample(self.image(state), tuple(latents))

    def image(self, state: Tensor) -> ImageDistribution:
        """Return the distribution of the image, given the state after the last group."""
        return self.distribution(self.image_head(F.elu(self.postprocess(state))))

    def distribution(self, parameters: Tensor) -> ImageDistribution:
        """Return the distribution of the image by what the head says, (B, C, R, R)."""
        parameters = crop(parameters.float(), self.config.image_padding)
        if self.config.image_distribution == "bernoulli":
            return BernoulliImage(parameters, self.config.image_padding)
        return LogisticMixtureImage.split(parameters, self.config)
