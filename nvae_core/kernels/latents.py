"""Latents of a group by kernels of ours: everything about a value while it is in a register.

Raw parameters are (B, H, W, 2Z), noise and z are (B, H, W, Z), all contiguous; a prior without raw
parameters has zeros.
"""

import torch
from torch import Tensor

from nvae_core.kernels.library import library


def sample_posterior(
    raw_prior: Tensor | None, raw_posterior: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return z, log q(z) of each image, (B,), and KL(q || p) of each image, (B,)."""
    z = torch.empty_like(noise)
    log_density, kl = torch.empty(2, len(z)).unbind(0)
    library().sample_posterior(
        *(_pointer(raw_prior), raw_posterior.data_ptr(), noise.data_ptr()),
        *(z.data_ptr(), log_density.data_ptr(), kl.data_ptr(), *_sizes(z)),
    )
    return z, log_density, kl


def log_prior(raw_prior: Tensor | None, z: Tensor) -> Tensor:
    """Return log p(z) of each image, (B,)."""
    log_density = torch.empty(len(z))
    library().log_prior(_pointer(raw_prior), z.data_ptr(), log_density.data_ptr(), *_sizes(z))
    return log_density


def sample_prior(raw_prior: Tensor | None, noise: Tensor, temperature: float) -> Tensor:
    """Return z, its standard deviations scaled by the temperature."""
    z = torch.empty_like(noise)
    library().sample_prior(
        *(_pointer(raw_prior), noise.data_ptr(), temperature, z.data_ptr(), *_sizes(z))
    )
    return z


def _pointer(raw: Tensor | None) -> int | None:
    return None if raw is None else raw.data_ptr()


def _sizes(z: Tensor) -> tuple[int, int, int]:
    batch_size, height, width, num_latents = z.shape
    return batch_size, height * width, num_latents
