"""The NVAE: posterior and prior passes over the latent hierarchy."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from nvae_core.architecture import build_hierarchy
from nvae_core.config import ModelConfig
from nvae_core.model.convolutions import channels_last
from nvae_core.model.decoder import NOTHING_FIXED, Decoder, PriorSample
from nvae_core.model.distributions import ImageDistribution, Normal, kl_divergence
from nvae_core.model.encoder import Encoder, PosteriorHead
from nvae_core.seeding import Noise, Stream, derive_seed, take_noise

_BUILDING = threading.Lock()


@dataclass(frozen=True)
class LatentGroupOutput:
    """One group's posterior and its sample, (B, Z, H, W); of the prior, (B, 2Z, H, W).

    Several groups of one resolution together are (G, B, H, W, Z): as they lie in memory, so that
    gradients do too.
    """

    raw_prior: Tensor
    posterior: Normal
    sample: Tensor
    z: Tensor  # the sample after the flow; without a flow it is the sample itself
    channel_dim: int = -3

    @property
    def has_flow(self) -> bool:
        """Whether z is something else than the sample."""
        return self.z is not self.sample

    @property
    def prior(self) -> Normal:
        """The prior given the latents above."""
        return Normal.from_raw(self.raw_prior, channel_dim=self.channel_dim)

    def kl(self) -> Tensor:
        """Return the KL divergence of each latent, in nats; an estimate where there is a flow.

        The flow has determinant 1, so the density of z is that of the sample. The estimate by
        one sample can be negative.
        """
        if not self.has_flow:
            return kl_divergence(self.posterior, self.prior)
        return self.log_posterior() - self.log_prior()

    def log_posterior(self) -> Tensor:
        """Return log q(z | x, latents above) of each latent."""
        return self.posterior.log_density(self.sample)

    def log_prior(self) -> Tensor:
        """Return log p(z | latents above) of each latent."""
        return self.prior.log_density(self.z)


@dataclass(frozen=True)
class NVAEOutput:
    """What the model says about images by one sample of the posterior."""

    image: ImageDistribution
    groups: tuple[LatentGroupOutput, ...]  # top first

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x | z) of padded images x (B, C, R, R): (B,) nats."""
        return self.image.log_prob_map(x).sum(dim=(1, 2))

    def kl_per_channel(self) -> Tensor:
        """Return the KL divergence of each image, group and channel, (B, G, Z) nats."""
        scales = [scale.kl().sum(dim=(2, 3)) for scale in self._scales()]
        return torch.cat(scales).transpose(0, 1)

    def kl_and_log_ratio(self) -> tuple[Tensor, Tensor]:
        """Return the KL divergence of each group, and log p(z) - log q(z | x): (B, G) nats each."""
        kls, log_ratios = [], []
        for scale in self._scales():
            log_ratio = (scale.log_prior() - scale.log_posterior()).sum(dim=(2, 3, 4))
            log_ratios.append(log_ratio)
            kls.append(-log_ratio if scale.has_flow else scale.kl().sum(dim=(2, 3, 4)))
        return torch.cat(kls).T, torch.cat(log_ratios).T

    def importance_log_weight(self, x: Tensor) -> Tensor:
        """Return log p(x, z) - log q(z | x) of padded images x (B, C, R, R): (B,) nats."""
        _, log_ratio = self.kl_and_log_ratio()
        return self.log_prob(x) + log_ratio.sum(dim=1)

    def _scales(self) -> list[LatentGroupOutput]:
        """Return the groups of each resolution together, (G, B, H, W, Z)."""
        by_resolution: dict[int, list[LatentGroupOutput]] = {}
        for group in self.groups:
            by_resolution.setdefault(group.z.shape[-1], []).append(group)
        return [_stack(groups) for groups in by_resolution.values()]


def _stack(groups: Sequence[LatentGroupOutput]) -> LatentGroupOutput:
    sample = _stack_channels_last([group.sample for group in groups])
    z = _stack_channels_last([group.z for group in groups]) if groups[0].has_flow else sample
    return LatentGroupOutput(
        raw_prior=_stack_channels_last([group.raw_prior for group in groups]),
        posterior=Normal(
            _stack_channels_last([group.posterior.mean for group in groups]),
            _stack_channels_last([group.posterior.sigma for group in groups]),
        ),
        sample=sample,
        z=z,
        channel_dim=-1,
    )


def _stack_channels_last(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.permute(0, 2, 3, 1) for tensor in tensors])


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
        return self.decoder.noise_shapes(batch_size)

    def forward(self, x: Tensor, noise: Noise) -> NVAEOutput:
        """Encode padded images (B, C, R, R) in [0, 1] and reconstruct them from one sample."""
        return self.reconstruct(self.encode(x), noise)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the encoder's features for each group, top first: all that needs the images."""
        features: tuple[Tensor, ...] = self.encoder(x)
        return features

    def reconstruct(
        self, features: Sequence[Tensor], noise: Noise, *, num_samples: int = 1
    ) -> NVAEOutput:
        """Sample the posterior from the top down (Eq. 1) and decode the sample.

        `num_samples` of each image: the noise of a group is (S B, Z, H, W).
        """
        batch_size = num_samples * features[0].shape[0]
        draws = take_noise(noise, self.noise_shapes(batch_size))
        state = self.decoder.initial_state(batch_size)
        groups: list[LatentGroupOutput] = []
        posterior_heads = cast(Sequence[PosteriorHead], self.posteriors)
        for index, (group, posterior_head) in enumerate(
            zip(self.decoder.steps(), posterior_heads, strict=True)
        ):
            state = group.advance(state)
            raw_prior = group.prior(state)
            of_images = features[index]
            if num_samples > 1:
                of_images = of_images.repeat(num_samples, 1, 1, 1)
            raw = posterior_head(of_images, state)
            if self.config.residual_posterior and index > 0:
                raw = raw_prior + raw  # Sec. 3.2
            posterior = Normal.from_raw(raw)
            sample = posterior.sample(channels_last(draws[index]))
            z = posterior_head.flow(sample)
            state = group.combine(state, z)
            groups.append(LatentGroupOutput(raw_prior, posterior, sample, z))
        return NVAEOutput(self.decoder.image(state), tuple(groups))

    def generate(
        self,
        noise: Noise,
        *,
        batch_size: int,
        temperature: float = 1.0,
        fixed: Mapping[int, Tensor] = NOTHING_FIXED,
    ) -> PriorSample:
        """Sample the prior as `Decoder.generate` does."""
        return self.decoder.generate(
            noise, batch_size=batch_size, temperature=temperature, fixed=fixed
        )


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
