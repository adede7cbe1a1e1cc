"""Images made from the latents of others: reconstructions, and the way between two."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from nvae_core.model.encoder import PosteriorHead
from nvae_core.model.nvae import NVAE


@torch.no_grad()
def reconstruct_means(model: NVAE, x: Tensor) -> Tensor:
    """Return what padded images x (B, C, R, R) become by the means of their posteriors.

    (B, C, H, W) in [0, 1], without padding.
    """
    return mix(model, x, x, torch.zeros(len(x)))


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
