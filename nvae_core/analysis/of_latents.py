"""Experiments on the latents of images of a split: reconstructions and interpolations."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from nvae_core.analysis.image_rows import Pixels, draw_rows
from nvae_core.analysis.mixing import mix, reconstruct
from nvae_core.analysis.model_output import check_finite, to_pixels
from nvae_core.analysis.pictures import Picture
from nvae_core.config import Interpolation, Reconstructions
from nvae_core.data.pixels import to_repeatable_input
from nvae_core.data.prepared import PreparedSplit
from nvae_core.seeding import Stream, draw_noise, seeded_generator
from nvae_core.run_directory import InvalidRunDirectory
from nvae_core.sampling.grids import as_bytes
from nvae_core.sampling.sampler import Sampler

CPU = torch.device("cpu")
MAX_COLUMNS = 12  # of images beside each other; more go on below


def show_reconstructions(
    config: Reconstructions,
    sampler: Sampler,
    split: PreparedSplit,
    *,
    should_stop: Callable[[], bool],
) -> Picture:
    """Show images, and below each what its posterior gives: the means, or one sample."""
    x = _model_input(config.images, config.seed, sampler, split)
    given = _shown(x, sampler, split)
    noise = _posterior_noise(config, sampler)
    found = reconstruct(sampler.model, x, noise, should_stop=should_stop)
    made = to_pixels(found.images)
    check_finite(found.reconstruction_loss, found.kl)
    png = draw_rows(
        [given, made],
        title=f"Images of the {config.split} split, and their reconstructions",
        row_labels=["image", f"posterior {config.posterior}"],
        column_labels=[str(index) for index in config.images],
        max_columns=MAX_COLUMNS,
    )
    numbers: dict[str, object] = {
        "root_mean_squared_errors": pixel_distances(given, made),
        "reconstruction_losses": found.reconstruction_loss.tolist(),
        "kls": found.kl.tolist(),
        "bits_per_dim": found.bits_per_dim().tolist(),
    }
    return Picture("reconstructions", png, numbers)


def _posterior_noise(config: Reconstructions, sampler: Sampler) -> list[Tensor]:
    """Return the noise of each group; that of an image depends on the seed and its index alone."""
    shapes = sampler.model.noise_shapes(1)
    if config.posterior == "mean":
        means = sampler.model.noise_shapes(len(config.images))
        return [torch.zeros(shape, device=sampler.device) for shape in means]
    draws = [
        draw_noise(shapes, seeded_generator(CPU, Stream.LATENTS, config.seed, index))
        for index in config.images
    ]
    return [torch.cat(group).to(sampler.device) for group in zip(*draws, strict=True)]


def show_interpolation(
    config: Interpolation,
    sampler: Sampler,
    split: PreparedSplit,
    *,
    should_stop: Callable[[], bool],
) -> Picture:
    """Show the way from one image to another in even steps, the images themselves at its ends."""
    x = _model_input(config.images, config.seed, sampler, split)
    share = torch.linspace(0, 1, config.num_steps)
    way = to_pixels(mix(sampler.model, x, share, should_stop=should_stop))
    ends = _shown(x, sampler, split)
    labels = [f"image {config.images[0]}", *(f"{value:.2g}" for value in share.tolist())]
    png = draw_rows(
        [np.concatenate([ends[:1], way, ends[1:]])],
        title=f"Between two images of the {config.split} split, in their latents",
        row_labels=[""],
        column_labels=[*labels, f"image {config.images[1]}"],
        max_columns=MAX_COLUMNS,
    )
    numbers: dict[str, object] = {
        "shares": share.tolist(),
        "distances_to_next": pixel_distances(way[:-1], way[1:]),
        "root_mean_squared_errors_of_ends": pixel_distances(ends, way[[0, -1]]),
    }
    return Picture("interpolation", png, numbers)


def pixel_distances(images: Pixels, others: Pixels) -> list[float]:
    """Return the root of the mean squared difference of each pair (N, H, W, C), in [0, 1]."""
    squares = (images.astype(np.float64) - others) ** 2
    distances: list[float] = (np.sqrt(squares.mean(axis=(1, 2, 3))) / 255).tolist()
    return distances


def _model_input(
    indices: Sequence[int], seed: int, sampler: Sampler, split: PreparedSplit
) -> Tensor:
    missing = [index for index in indices if index >= len(split.images)]
    if missing:
        raise InvalidRunDirectory(
            f"images: {missing[0]} is not one of the {len(split.images)} images of the split"
        )
    x = to_repeatable_input(split.images, indices, sampler.model.config, seed)
    return x.to(sampler.device)


def _shown(x: Tensor, sampler: Sampler, split: PreparedSplit) -> Pixels:
    """Return the images as the model was given them, binarized where it takes them so."""
    padding = sampler.model.config.image_padding
    height, width = split.images.shape[1:3]
    return as_bytes(x[:, :, padding : padding + height, padding : padding + width])
