"""The NVAE: posterior and prior passes over the latent hierarchy."""

import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn

from nvae_core.architecture import build_hierarchy
from nvae_core.config import ModelConfig
from nvae_core.model.decoder import Decoder
from nvae_core.model.encoder import Encoder, PosteriorHead
from nvae_core.model.noise import Noise, Stream, derive_seed, take_noise
from nvae_core.model.passes import GroupSample, PriorSample, Reconstruction

_BUILDING = threading.Lock()
NOTHING_FIXED: Mapping[int, Tensor] = MappingProxyType({})


class NVAE(nn.Module):
    """A deep hierarchical VAE (Vahdat and Kautz, 2020).

    Where a method takes noise, that is one standard normal tensor per group, top first, or a
    generator that draws them.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.hierarchy = build_hierarchy(config)
        self.encoder = Encoder(config, self.hierarchy)
        self.posteriors = nn.ModuleList(
            PosteriorHead(group, config) for group in self.hierarchy.groups
        )
        self.decoder = Decoder(config, self.hierarchy)

    def noise_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Return the shape of each group's noise, top first: (B, Z, H, W)."""
        return self.hierarchy.latent_shapes(self.config.num_latents_per_group, batch_size)

    def forward(self, x: Tensor, noise: Noise) -> Reconstruction:
        """Encode padded images (B, C, R, R) in [0, 1] and reconstruct them from one sample."""
        return self.reconstruct(self.encode(x), noise)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the encoder's features for each group, top first: all that needs the images."""
        features: tuple[Tensor, ...] = self.encoder(x)
        return features

    def reconstruct(self, features: Sequence[Tensor], noise: Noise) -> Reconstruction:
        """Sample the posterior from the top down (Eq. 1) and decode the sample."""
        batch_size = features[0].shape[0]
        draws = take_noise(noise, self.noise_shapes(batch_size))
        state = self.decoder.initial_state(batch_size)
        groups: list[GroupSample] = []
        posterior_heads = cast(Sequence[PosteriorHead], self.posteriors)
        for index, (group, posterior_head) in enumerate(
            zip(self.decoder.steps(), posterior_heads, strict=True)
        ):
            state = group.advance(state)
            raw_prior = group.prior(state)
            raw_posterior = posterior_head(features[index], state)
            if self.config.residual_posterior and index > 0:
                raw_posterior = raw_prior + raw_posterior
            prior, posterior = raw_prior.clamp(), raw_posterior.clamp()
            sample = posterior.sample(draws[index])
            z = posterior_head.flow(sample)
            state = group.combine(state, z)
            groups.append(GroupSample(prior, posterior, sample, z))
        return Reconstruction(self.decoder.image(state), tuple(groups))

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
        state = self.decoder.initial_state(batch_size)
        latents: list[Tensor] = []
        for index, group in enumerate(self.decoder.steps()):
            state = group.advance(state)
            z = fixed.get(index)
            if z is None:
                z = group.prior(state).clamp(temperature).sample(draws[index])
            state = group.combine(state, z)
            latents.append(z)
        return PriorSample(self.decoder.image(state), tuple(latents))


def build_model(config: ModelConfig, seed: int) -> NVAE:
    """Build a model on the CPU, its parameters drawn from the seed alone.

    torch initializes layers from its global generator of the CPU: it is seeded for as long as it
    takes, by one thread at a time, and then put back where it was.
    """
    generator = torch.default_generator
    with _BUILDING:
        before = generator.get_state()
        generator.manual_seed(derive_seed(Stream.PARAMETERS, seed))
        try:
            model = NVAE(config)
        finally:
            generator.set_state(before)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def count_parameters(model: nn.Module) -> int:
    """Return the number of trained values."""
    return sum(parameter.numel() for parameter in model.parameters())
