"""The way from one image of a split to another, in their latents."""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from nvae_core.analysis.experiments.reconstruction import (
    MAX_COLUMNS,
    batch_size,
    input_pixels,
    pixel_distances,
    read_inputs,
)
from nvae_core.analysis.image_grid import draw_rows
from nvae_core.analysis.report import Picture, to_pixels
from nvae_core.config import Interpolation
from nvae_core.data.dataset import PreparedSplit
from nvae_core.model.distributions import Normal
from nvae_core.model.encoder import PosteriorHead
from nvae_core.model.nvae import NVAE
from nvae_core.sampling.draw import check_stop
from nvae_core.sampling.sampler import Sampler


def show_interpolation(
    config: Interpolation,
    sampler: Sampler,
    split: PreparedSplit,
    *,
    should_stop: Callable[[], bool],
) -> Picture:
    """Show the way from one image to another in even steps, the images themselves at its ends."""
    x = read_inputs(config, sampler, split)
    shares = torch.linspace(0, 1, config.num_steps)
    way = to_pixels(interpolate(sampler.model, x, shares, should_stop=should_stop))
    ends = input_pixels(x, sampler)
    first, last = (f"image {index}" for index in config.images)
    png = draw_rows(
        [np.concatenate([ends[:1], way, ends[1:]])],
        title=f"Between two images of the {config.split} split, in their latents",
        row_labels=[""],
        column_labels=[first, *(f"{share:.2g}" for share in shares.tolist()), last],
        max_columns=MAX_COLUMNS,
    )
    numbers = {
        "shares": shares.tolist(),
        "distances_to_next": pixel_distances(way[:-1], way[1:]),
        "root_mean_squared_errors_of_ends": pixel_distances(ends, way[[0, -1]]),
    }
    return Picture("interpolation", png, numbers)


@torch.no_grad()
def interpolate(
    model: NVAE, ends: Tensor, shares: Tensor, *, should_stop: Callable[[], bool] | None = None
) -> Tensor:
    """Return mean images (B, C, H, W) by latents between those of two padded ones, (2, C, R, R).

    At each group, top first, the means of both posteriors are mixed, given the mixed latents
    above: (1 - share) of the first and share of the second, for each of the shares (B,).

    Raises:
        SamplingStopped: `should_stop`, asked before each batch, said so.
    """
    size = batch_size(ends)
    encoded = [model.encode(part) for part in torch.split(ends, size)]
    features = [torch.cat(group) for group in zip(*encoded, strict=True)]
    images = []
    for batch in torch.split(shares.to(ends), size):
        check_stop(should_stop)
        images.append(_decode_between(model, features, batch))
    return torch.cat(images)


def _decode_between(model: NVAE, features: Sequence[Tensor], shares: Tensor) -> Tensor:
    """Decode mixed posterior means; features of both ends (2, C, H, W) for each group."""
    weight = shares.view(-1, 1, 1, 1)
    state = model.decoder.initial_state(len(shares))
    heads = cast(Sequence[PosteriorHead], model.posteriors)
    steps = zip(model.decoder.steps(), heads, features, strict=True)
    for index, (group, head, ends) in enumerate(steps):
        state = group.advance(state)
        raw = [head(_repeat(end, len(shares)), state) for end in torch.split(ends, 1)]
        if model.config.residual_posterior and index > 0:
            prior = group.prior(state)
            raw = [prior + change for change in raw]
        first, second = (Normal.from_raw(parameters).mean for parameters in raw)
        state = group.combine(state, head.flow(torch.lerp(first, second, weight)))
    return model.decoder.image(state).mean()


def _repeat(features: Tensor, count: int) -> Tensor:
    return features.expand(count, -1, -1, -1).contiguous(memory_format=torch.channels_last)
