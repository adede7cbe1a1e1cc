"""Samples of a group's latents, and the sums over them that the likelihood needs.

Raw parameters are (B, H, W, 2Z), None for the prior of the top; noise and samples are (B, H, W, Z).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nvae_core.kernels import latents as kernels
from nvae_core.kernels.library import is_usable
from nvae_core.model.normal import RawNormal, kl_divergence


@dataclass(frozen=True)
class PosteriorSample:
    """A sample, its log density under the posterior, (B,), and KL(q || p), (B,)."""

    z: Tensor
    log_density: Tensor
    kl: Tensor


def sample_posterior(
    raw_prior: Tensor | None, raw_posterior: Tensor, noise: Tensor
) -> PosteriorSample:
    """Sample the posterior."""
    if _usable(raw_posterior, noise):
        return PosteriorSample(*kernels.sample_posterior(raw_prior, raw_posterior, noise))
    posterior, prior = _split(raw_posterior).clamp(), _prior(raw_prior, noise).clamp()
    z = posterior.sample(noise)
    kl = kl_divergence(posterior, prior)
    return PosteriorSample(z, _sum(posterior.log_density(z)), _sum(kl))


def log_prior(raw_prior: Tensor | None, z: Tensor) -> Tensor:
    """Return the log density of z under the prior, (B,)."""
    if _usable(raw_prior, z):
        return kernels.log_prior(raw_prior, z)
    return _sum(_prior(raw_prior, z).clamp().log_density(z))


def sample_prior(raw_prior: Tensor | None, noise: Tensor, temperature: float) -> Tensor:
    """Sample the prior, its standard deviations scaled by the temperature."""
    if _usable(raw_prior, noise):
        return kernels.sample_prior(raw_prior, noise, temperature)
    return _prior(raw_prior, noise).clamp(temperature).sample(noise)


def _usable(raw: Tensor | None, values: Tensor) -> bool:
    tensors = [values] if raw is None else [values, raw]
    return all(is_usable(tensor) and tensor.is_contiguous() for tensor in tensors)


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
