"""Images made from the latents of others: reconstructions, and the way between two."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from nvae_core.model.encoder import PosteriorHead
from nvae_core.model.nvae import NVAE


@dataclass(frozen=True)
class Reconstructed:
    """What images become, and what the latents that they became so by say of them, in nats."""

    images: Tensor  # (B, C, H, W) in [0, 1], without padding
    reconstruction_loss: Tensor  # (B,)
    kl: Tensor  # (B,)

    def bits_per_dim(self) -> Tensor:
        """Return the negative ELBO of each image by these latents, in bits per dimension, (B,)."""
        nats = self.reconstruction_loss + self.kl
        return nats / (math.log(2) * self.images[0].numel())


@torch.no_grad()
def reconstruct(model: NVAE, x: Tensor, noise: Sequence[Tensor]) -> Reconstructed:
    """Return what padded images x (B, C, R, R) become by samples of their posteriors.

    Noise of zeros stands for the means: those of each group, given the means above.
    """
    found = model(x, noise)
    kl = found.kl_per_channel().sum(dim=(1, 2))
    return Reconstructed(found.image.mean(), -found.log_prob(x), kl)


@torch.no_grad()
def mix(model: NVAE, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return mean images by latents between those of two batches of padded images (B, C, R, R).

    At each group, top first, the means of both posteriors are mixed, given the mixed latents
    above: (1 - share) of the first and share (B,) of the second.
    """
    features = zip(model.encode(first), model.encode(second), strict=True)
    weight = share.to(first).view(-1, 1, 1, 1)
    state = model.decoder.initial_state(len(first))
    heads = cast(Sequence[PosteriorHead], model.posteriors)
    steps = zip(model.decoder.steps(), heads, features, strict=True)
    for index, (group, head, (of_first, of_second)) in enumerate(steps):
        state = group.advance(state)
        raw = [head(of_first, state), head(of_second, state)]
        if model.config.residual_posterior and index > 0:
            prior = group.prior(state)
            raw = [prior + change for change in raw]
        means = [parameters.clamp().mean for parameters in raw]
        z = head.flow(torch.lerp(means[0], means[1], weight))
        state = group.combine(state, z)
    return model.decoder.image(state).mean()
