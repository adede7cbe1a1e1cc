"""The NVAE: posterior and prior passes over the latent hierarchy."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nvae_core.config import ModelConfig
from nvae_core.model.decoder import Decoder
from nvae_core.model.distributions import BernoulliImage, Normal, kl_divergence
from nvae_core.model.encoder import Encoder, PosteriorHead
from nvae_core.model.hierarchy import latent_groups, latent_shape
from nvae_core.model.noise import Stream, derive_seed


@dataclass(frozen=True)
class GroupSample:
    """One group's distributions and the sample z of its posterior, (B, Z, H, W)."""

    prior: Normal
    posterior: Normal
    z: Tensor


@dataclass(frozen=True)
class Reconstruction:
    """What the model says about images by one sample of the posterior."""

    image: BernoulliImage
    groups: tuple[GroupSample, ...]  # top first

    def kl_per_group(self) -> Tensor:
        """Return the KL divergence of each image and group in closed form, (B, G) nats."""
        divergences = [
            kl_divergence(group.posterior, group.prior).sum(dim=(1, 2, 3)) for group in self.groups
        ]
        return torch.stack(divergences, dim=1)

    def importance_log_weight(self, x: Tensor) -> Tensor:
        """Return log p(x, z) - log q(z | x) of each image, (B,) nats."""
        log_weight = self.image.log_prob(x)
        for group in self.groups:
            log_ratio = group.prior.log_density(group.z) - group.posterior.log_density(group.z)
            log_weight = log_weight + log_ratio.sum(dim=(1, 2, 3))
        return log_weight


class NVAE(nn.Module):
    """A deep hierarchical VAE (Vahdat and Kautz, 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.posteriors = nn.ModuleList(
            PosteriorHead(group, config) for group in latent_groups(config)
        )
        self.decoder = Decoder(config)

    def noise_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Return the shape of each group's noise, top first."""
        return [
            (batch_size, *latent_shape(group, self.config)) for group in latent_groups(self.config)
        ]

    def forward(self, x: Tensor, noise: Sequence[Tensor]) -> Reconstruction:
        """Encode padded images (B, C, R, R) in [0, 1] and reconstruct them from one sample."""
        return self.reconstruct(self.encode(x), noise)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the encoder's features for each group, top first: all that needs the images."""
        features: tuple[Tensor, ...] = self.encoder(x)
        return features

    def reconstruct(self, features: Sequence[Tensor], noise: Sequence[Tensor]) -> Reconstruction:
        """Sample the posterior from the top down (Eq. 1) and decode the sample."""
        state = self.decoder.initial_state(features[0].shape[0])
        groups: list[GroupSample] = []
        for index, (group, posterior_head) in enumerate(
            zip(self.decoder.steps(), self.posteriors, strict=True)
        ):
            state = group.advance(state)
            raw_prior = group.prior(state)
            raw_posterior = posterior_head(features[index], state)
            if self.config.residual_posterior and index > 0:
                raw_posterior = raw_prior + raw_posterior
            prior, posterior = raw_prior.clamp(), raw_posterior.clamp()
            z = posterior.sample(noise[index])
            state = group.combine(state, z)
            groups.append(GroupSample(prior, posterior, z))
        return Reconstruction(self.decoder.image(state), tuple(groups))

    def generate(self, noise: Sequence[Tensor], temperature: float) -> BernoulliImage:
        """Sample the prior from the top down, its standard deviations scaled by temperature."""
        state = self.decoder.initial_state(noise[0].shape[0])
        for group, group_noise in zip(self.decoder.steps(), noise, strict=True):
            state = group.advance(state)
            z = group.prior(state).clamp(temperature).sample(group_noise)
            state = group.combine(state, z)
        return self.decoder.image(state)


def build_model(config: ModelConfig, seed: int) -> NVAE:
    """Build a model on the CPU, its parameters drawn from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(Stream.PARAMETERS, seed))
        model = NVAE(config)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def count_parameters(model: nn.Module) -> int:
    """Return the number of trained values."""
    return sum(parameter.numel() for parameter in model.parameters())
