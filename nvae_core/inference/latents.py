"""Samples of a group's posterior, and the sums over its latents that the likelihood needs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nvae_core.model.normal import RawNormal, kl_divergence


@dataclass(frozen=True)
class PosteriorSample:
    """A sample of (B, H, W, Z), its log density under the posterior, and KL(q || p), (B,)."""

    z: Tensor
    log_density: Tensor
    kl: Tensor


def sample_posterior(
    raw_prior: Tensor | None, raw_posterior: Tensor, noise: Tensor
) -> PosteriorSample:
    """Sample by noise (B, H, W, Z); raw parameters are (B, H, W, 2Z), None for those of the top."""
    posterior, prior = _split(raw_posterior).clamp(), _prior(raw_prior, noise).clamp()
    z = posterior.sample(noise)
    kl = kl_divergence(posterior, prior)
    return PosteriorSample(z, _sum(posterior.log_density(z)), _sum(kl))


def log_prior(raw_prior: Tensor | None, z: Tensor) -> Tensor:
    """Return the log density (B,) of z (B, H, W, Z) under the prior."""
    return _sum(_prior(raw_prior, z).clamp().log_density(z))


def sample_prior(raw_prior: Tensor | None, noise: Tensor, temperature: float) -> Tensor:
    """Return a sample (B, H, W, Z) of the prior."""
    return _prior(raw_prior, noise).clamp(temperature).sample(noise)


def _prior(raw: Tensor | None, like: Tensor) -> RawNormal:
    if raw is not None:
        return _split(raw)
    zeros = torch.zeros_like(like)
    return RawNormal(zeros, zeros)


def _split(raw: Tensor) -> RawNormal:
    mean, log_sigma = raw.float().chunk(2, dim=3)
    return RawNormal(mean, log_sigma)


def _sum(x: Tensor) -> Tensor:
    return x.sum(dim=(1, 2, 3))
