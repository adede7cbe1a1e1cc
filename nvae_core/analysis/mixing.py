"""Images made from the latents of others: reconstructions, and the way between two."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from nvae_core.model.encoder import PosteriorHead
from nvae_core.model.nvae import NVAE
from nvae_core.sampling.draw import check_stop

BATCH_SIZE = 8  # of images at a time: between two one may stop


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
def reconstruct(
    model: NVAE,
    x: Tensor,
    noise: Sequence[Tensor],
    *,
    should_stop: Callable[[], bool] | None = None,
) -> Reconstructed:
    """Return what padded images x (B, C, R, R) become by samples of their posteriors.

    Noise of zeros stands for the means: those of each group, given the means above.

    Raises:
        SamplingStopped: `should_stop`, asked before each batch, said so.
    """
    images, losses, kls = [], [], []
    for start in range(0, len(x), BATCH_SIZE):
        check_stop(should_stop)
        own = slice(start, start + BATCH_SIZE)
        found = model(x[own], [group[own] for group in noise])
        images.append(found.image.mean())
        losses.append(-found.log_prob(x[own]))
        kls.append(found.kl_per_channel().sum(dim=(1, 2)))
    return Reconstructed(torch.cat(images), torch.cat(losses), torch.cat(kls))


@torch.no_grad()
def mix(
    model: NVAE, ends: Tensor, share: Tensor, *, should_stop: Callable[[], bool] | None = None
) -> Tensor:
    """Return mean images (B, C, H, W) by latents between those of two padded ones, (2, C, R, R).

    At each group, top first, the means of both posteriors are mixed, given the mixed latents
    above: (1 - share) of the first and share (B,) of the second.

    Raises:
        SamplingStopped: `should_stop`, asked before each batch, said so.
    """
    features = model.encode(ends)
    mixed = []
    for own in torch.split(share.to(ends), BATCH_SIZE):
        check_stop(should_stop)
        mixed.append(_decode_between(model, features, own))
    return torch.cat(mixed)


def _decode_between(model: NVAE, features: Sequence[Tensor], share: Tensor) -> Tensor:
    weight = share.view(-1, 1, 1, 1)
    state = model.decoder.initial_state(len(share))
    heads = cast(Sequence[PosteriorHead], model.posteriors)
    steps = zip(model.decoder.steps(), heads, features, strict=True)
    for index, (group, head, of_ends) in enumerate(steps):
        state = group.advance(state)
        raw = [head(_repeat(of_end, len(share)), state) for of_end in torch.split(of_ends, 1)]
        if model.config.residual_posterior and index > 0:
            prior = group.prior(state)
            raw = [prior + change for change in raw]
        means = [parameters.clamp().mean for parameters in raw]
        z = head.flow(torch.lerp(means[0], means[1], weight))
        state = group.combine(state, z)
    return model.decoder.image(state).mean()


def _repeat(features: Tensor, count: int) -> Tensor:
    return features.expand(count, -1, -1, -1).contiguous(memory_format=torch.channels_last)
