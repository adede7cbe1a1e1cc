"""Images through the posterior: their reconstructions, and images between two of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nvae_core.model.convolutions import hold_weights
from nvae_core.model.images import crop
from nvae_core.model.noise import Noise, take_noise
from nvae_core.model.nvae import NVAE

BATCH_SIZE = 16


@dataclass(frozen=True)
class Reconstructed:
    """Of each image its reconstruction, and what one sample of the posterior says, in nats."""

    images: Tensor  # (N, C, H, W) in [0, 1], means of the image distributions
    reconstruction_loss: Tensor  # (N,)
    kl: Tensor  # (N,)

    def bits_per_dim(self) -> Tensor:
        """Return the negative ELBO of each image by one sample, in bits per dimension, (N,)."""
        num_dimensions = self.images[0].numel()
        return (self.reconstruction_loss + self.kl) / (math.log(2) * num_dimensions)


@dataclass(frozen=True)
class Interpolated:
    """Images on the way from one image to another."""

    images: Tensor  # (T, C, H, W) in [0, 1]
    log_prior: Tensor  # (T,) nats: log density of all latents of each step under the prior


@torch.no_grad()
def reconstruct(model: NVAE, x: Tensor, noise: Noise) -> Reconstructed:
    """Reconstruct padded images x (N, C, R, R); noise of zeros is for the posterior's means."""
    parts: list[Reconstructed] = []
    draws = take_noise(noise, model.noise_shapes(len(x)))
    with hold_weights(model):
        for start in range(0, len(x), BATCH_SIZE):
            batch = slice(start, start + BATCH_SIZE)
            found = model(x[batch], [draw[batch] for draw in draws])
            kl = found.kl_per_channel().sum(dim=(1, 2))
            parts.append(Reconstructed(found.image.mean(), -found.log_prob(x[batch]), kl))
    return Reconstructed(
        torch.cat([part.images for part in parts]),
        torch.cat([part.reconstruction_loss for part in parts]),
        torch.cat([part.kl for part in parts]),
    )


@torch.no_grad()
def posterior_means(model: NVAE, x: Tensor) -> tuple[Tensor, ...]:
    """Return the latents (N, Z, H, W) of each group, top first, at the posterior's means.

    Each group's posterior depends on the latents above it: those are at their means too.
    """
    zeros = [torch.zeros(shape, device=x.device) for shape in model.noise_shapes(len(x))]
    with hold_weights(model):
        return tuple(group.z for group in model(x, zeros).groups)


@torch.no_grad()
def interpolate(model: NVAE, latents: Sequence[Tensor], *, num_steps: int) -> Interpolated:
    """Decode latents that go in a straight line from the first image's to the second's.

    Each group's latents are mixed by the same weight; states and priors are those that the mixed
    latents above lead to, so log_prior says how likely the model finds the way.

    Args:
        model: in evaluation mode.
        latents: of two images, (2, Z, H, W) of each group, top first.
        num_steps: with both ends.
    """
    weights = torch.linspace(0, 1, num_steps, device=latents[0].device)[:, None, None, None]
    state = model.decoder.initial_state(num_steps)
    log_prior = torch.zeros(num_steps, device=state.device)
    with hold_weights(model):
        for group, ends in zip(model.decoder.steps(), latents, strict=True):
            state = group.advance(state)
            z = torch.lerp(ends[:1], ends[1:], weights)
            log_prior += group.prior(state).clamp().log_density(z).sum(dim=(1, 2, 3))
            state = group.combine(state, z)
        return Interpolated(model.decoder.image(state).mean(), log_prior)


def without_padding(x: Tensor, model: NVAE) -> Tensor:
    """Return padded images (N, C, R, R) without it, (N, C, H, W)."""
    return crop(x, model.config.image_padding)
