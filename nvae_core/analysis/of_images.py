"""Experiments on a checkpoint beside images of a data set (Fig. 6), and on their latents."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from nvae_core.analysis.figures import Pixels, draw_histogram, draw_rows
from nvae_core.analysis.mixing import mix, reconstruct
from nvae_core.analysis.nearest import Floats, find_nearest
from nvae_core.analysis.pictures import Picture
from nvae_core.config import Interpolation, NearestImages, Reconstructions
from nvae_core.data.pixels import seen_levels, to_model_input
from nvae_core.data.prepared import PreparedSplit
from nvae_core.model.noise import Stream, draw_noise, seeded_generator
from nvae_core.run_directory import InvalidRunDirectory
from nvae_core.sampling.drawing import draw_images
from nvae_core.sampling.grids import as_bytes
from nvae_core.sampling.sampler import Sampler

MAX_HELD_OUT = 1000  # enough for the shape of a distribution
CPU = torch.device("cpu")


def show_nearest(
    config: NearestImages,
    sampler: Sampler,
    split: PreparedSplit,
    held_out: PreparedSplit | None,
    *,
    should_stop: Callable[[], bool],
) -> list[Picture]:
    """Draw samples, and find the nearest images of the split to each.

    `held_out` are images that were not trained on: how near they are to the split says how near a
    new image is when nothing is memorized.
    """
    samples = as_bytes(
        draw_images(
            sampler.running(),
            config.num_samples,
            temperature=config.temperature,
            generator=seeded_generator(sampler.device, Stream.LATENTS, config.seed),
            should_stop=should_stop,
        )
    )
    levels = seen_levels(sampler.model.config)
    found = find_nearest(
        samples, split.images, config.num_neighbours, levels=levels, should_stop=should_stop
    )
    rows = [
        np.concatenate([sample[None], levels[split.images[own]]])
        for sample, own in zip(samples, found.indices, strict=True)
    ]
    numbers: dict[str, object] = {
        "indices": found.indices.tolist(),
        "distances": found.distances.tolist(),
    }
    title = f"Samples at temperature {config.temperature:g}, and the nearest {config.split} images"
    pictures = []
    if held_out is not None:
        reference = find_nearest(
            levels[choose_evenly(held_out.images, MAX_HELD_OUT)],
            split.images,
            1,
            levels=levels,
            should_stop=should_stop,
        ).distances[:, 0]
        numbers |= compare_with_held_out(found.distances[:, 0], reference)
        pictures = [_show_distances(config, found.distances[:, 0], reference)]
    png = draw_rows(
        rows,
        title=title,
        row_labels=[f"{distance:.3f}" for distance in found.distances[:, 0]],
        column_labels=["sample", *(f"{k + 1}." for k in range(found.indices.shape[1]))],
        apart=1,
    )
    return [Picture("nearest_images", png, numbers), *pictures]


def compare_with_held_out(distances: Floats, reference: Floats) -> dict[str, object]:
    """Return where nearest distances of samples (N,) are among those of held-out images (M,)."""
    return {
        "held_out_nearest_distance_quartiles": np.quantile(
            reference, [0.0, 0.25, 0.5, 0.75, 1.0]
        ).tolist(),
        "median_nearest_distance": float(np.median(distances)),
        # Of a copy it is 0: no image that was not trained on has one as near.
        "shares_of_held_out_nearer": (reference[None] < distances[:, None]).mean(axis=1).tolist(),
    }


def choose_evenly(images: Pixels, count: int) -> Pixels:
    """Return so many images from all over a split, which may be in the order of its classes."""
    chosen = np.unique(np.linspace(0, len(images) - 1, count).round().astype(np.int64))
    return images[chosen]


def _show_distances(config: NearestImages, distances: Floats, reference: Floats) -> Picture:
    png = draw_histogram(
        reference.tolist(),
        distances.tolist(),
        title=f"Distance to the nearest {config.split} image",
        names=(f"{len(reference)} images that were not trained on", "samples"),
    )
    numbers: dict[str, object] = {
        "samples": distances.tolist(),
        "held_out": reference.tolist(),
    }
    return Picture("nearest_distances", png, numbers)


def show_reconstructions(
    config: Reconstructions, sampler: Sampler, split: PreparedSplit
) -> Picture:
    """Show images, and below each what its posterior gives: the means, or one sample."""
    x = _model_input(config.images, config.seed, sampler, split)
    given = _shown(config.images, x, sampler, split)
    found = reconstruct(sampler.model, x, _posterior_noise(config, sampler))
    made = as_bytes(found.images)
    errors = np.sqrt(((given.astype(float) - made) ** 2).mean(axis=(1, 2, 3))) / 255
    png = draw_rows(
        [given, made],
        title=f"Images of the {config.split} split, and their reconstructions",
        row_labels=["image", f"posterior {config.posterior}"],
        column_labels=[str(index) for index in config.images],
    )
    numbers: dict[str, object] = {
        "root_mean_squared_errors": errors.tolist(),
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


def show_interpolation(config: Interpolation, sampler: Sampler, split: PreparedSplit) -> Picture:
    """Show the way from one image to another in even steps, the images themselves at its ends."""
    x = _model_input(config.images, config.seed, sampler, split)
    share = torch.linspace(0, 1, config.num_steps)
    first, second = (x[side : side + 1].expand(config.num_steps, -1, -1, -1) for side in (0, 1))
    way = as_bytes(mix(sampler.model, first, second, share))
    ends = _shown(config.images, x, sampler, split)
    rows = [np.concatenate([ends[:1], way, ends[1:]])]
    labels = [f"image {config.images[0]}", *(f"{value:.2g}" for value in share.tolist())]
    png = draw_rows(
        rows,
        title=f"Between two images of the {config.split} split, in their latents",
        row_labels=[""],
        column_labels=[*labels, f"image {config.images[1]}"],
    )
    return Picture("interpolation", png, {"shares": share.tolist()})


def _model_input(
    indices: Sequence[int], seed: int, sampler: Sampler, split: PreparedSplit
) -> Tensor:
    missing = [index for index in indices if index >= len(split.images)]
    if missing:
        raise InvalidRunDirectory(
            f"images: {missing[0]} is not one of the {len(split.images)} images of the split"
        )
    inputs = [
        to_model_input(
            split.images[[index]],
            sampler.model.config,
            seeded_generator(CPU, Stream.PIXELS, seed, index),
        )
        for index in indices
    ]
    return torch.cat(inputs).to(sampler.device)


def _shown(indices: Sequence[int], x: Tensor, sampler: Sampler, split: PreparedSplit) -> Pixels:
    """Return the images as the model was given them, binarized where it takes them so."""
    padding = sampler.model.config.image_padding
    height, width = split.images.shape[1:3]
    return as_bytes(x[:, :, padding : padding + height, padding : padding + width])
