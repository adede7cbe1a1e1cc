"""What a pass through the model returns."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nvae_core.model.images import ImageDistribution
from nvae_core.model.normal import Normal, kl_divergence


@dataclass(frozen=True)
class GroupSample:
    """One group's distributions and the sample of its posterior; all are (B, Z, H, W)."""

    prior: Normal
    posterior: Normal
    sample: Tensor
    z: Tensor  # the sample after the flow; without a flow it is the sample itself

    def kl(self) -> Tensor:
        """Return the KL divergence of each latent, in nats; an estimate where there is a flow.

        The flow has determinant 1, so the density of z is that of the sample. The estimate by
        one sample can be negative.
        """
        if self.z is self.sample:
            return kl_divergence(self.posterior, self.prior)
        return self.log_posterior() - self.log_prior()

    def log_posterior(self) -> Tensor:
        """Return log q(z | x, latents above) of each latent."""
        return self.posterior.log_density(self.sample)

    def log_prior(self) -> Tensor:
        """Return log p(z | latents above) of each latent."""
        return self.prior.log_density(self.z)


@dataclass(frozen=True)
class Reconstruction:
    """What the model says about images by one sample of the posterior."""

    image: ImageDistribution
    groups: tuple[GroupSample, ...]  # top first

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x | z) of padded images x (B, C, R, R): (B,) nats."""
        return self.image.log_prob_map(x).sum(dim=(1, 2))

    def kl_per_channel(self) -> Tensor:
        """Return the KL divergence of each image, group and channel, (B, G, Z) nats."""
        return torch.stack([group.kl().sum(dim=(2, 3)) for group in self.groups], dim=1)

    def importance_log_weight(self, x: Tensor) -> Tensor:
        """Return log p(x, z) - log q(z | x) of padded images x (B, C, R, R): (B,) nats."""
        log_ratios = [
            (group.log_prior() - group.log_posterior()).sum(dim=(1, 2, 3)) for group in self.groups
        ]
        return self.log_prob(x) + torch.stack(log_ratios).sum(dim=0)


@dataclass(frozen=True)
class PriorSample:
    """The distribution of images at latents drawn from the prior, and those latents."""

    image: ImageDistribution
    latents: tuple[Tensor, ...]  # (B, Z, H, W) each, top first
