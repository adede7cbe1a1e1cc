"""Samples beside the nearest images of a split, and how near those are (Fig. 6)."""

from collections.abc import Callable

import numpy as np

from nvae_core.analysis.histogram import draw_histogram
from nvae_core.analysis.image_rows import Pixels, draw_rows
from nvae_core.analysis.model_output import to_pixels
from nvae_core.analysis.nearest import Floats, find_nearest
from nvae_core.analysis.pictures import Picture, was_trained_on
from nvae_core.config import NearestImages
from nvae_core.data.pixels import seen_levels
from nvae_core.data.prepared import PreparedSplit
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.sampling.draw import draw_images
from nvae_core.sampling.sampler import Sampler

MAX_HELD_OUT = 1000  # enough for the shape of a distribution


def show_nearest(
    config: NearestImages,
    sampler: Sampler,
    split: PreparedSplit,
    held_out: PreparedSplit | None,
    *,
    should_stop: Callable[[], bool],
) -> list[Picture]:
    """Draw samples, and find the nearest images of the split to each.

    `held_out` are images of the test split: if the model was trained on this data set, how near
    they are to the split says how near a new image is when nothing is memorized.
    """
    samples = to_pixels(
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
        # Of another data set, images of the test split may be among those that were trained on.
        is_new = was_trained_on(sampler.manifest, split.manifest) is True
        name = f"{len(reference)} test images" + (", not trained on" if is_new else "")
        pictures = [_show_distances(config, found.distances[:, 0], reference, name)]
    png = draw_rows(
        rows,
        title=title,
        row_labels=[f"{distance:.3f}" for distance in found.distances[:, 0]],
        corner="distance to 1.",
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
        # Of a copy it is 0: no held-out image has one as near.
        "shares_of_held_out_nearer": (reference[None] < distances[:, None]).mean(axis=1).tolist(),
    }


def choose_evenly(images: Pixels, count: int) -> Pixels:
    """Return so many images from all over a split, which may be in the order of its classes."""
    chosen = np.unique(np.linspace(0, len(images) - 1, count).round().astype(np.int64))
    return images[chosen]


def _show_distances(
    config: NearestImages, distances: Floats, reference: Floats, name: str
) -> Picture:
    png = draw_histogram(
        reference.tolist(),
        distances.tolist(),
        title=f"Distance to the nearest {config.split} image",
        label="root of the mean squared difference of coarse pixels",
        names=(name, "samples"),
    )
    numbers: dict[str, object] = {
        "samples": distances.tolist(),
        "held_out": reference.tolist(),
    }
    return Picture("nearest_distances", png, numbers)
