"""Samples beside the nearest images of a split, in the coarse centre of the image (Fig. 6)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nvae_core.analysis.charts import draw_histogram
from nvae_core.analysis.experiments.scales import draw_samples
from nvae_core.analysis.image_grid import Pixels, draw_rows
from nvae_core.analysis.report import Picture, was_trained_on
from nvae_core.config import NearestImages
from nvae_core.data.dataset import PreparedSplit
from nvae_core.data.preprocess import seen_levels
from nvae_core.sampling.draw import check_stop
from nvae_core.sampling.grids import as_bytes
from nvae_core.sampling.sampler import Sampler

Floats = npt.NDArray[np.float64]

DOWNSAMPLING = 4
BLOCK_BYTES = 64 * 2**20  # of pixels at a time
BLOCK_PAIRS = 2**22  # of distances at a time: 32 MiB, a few times
MAX_HELD_OUT = 1000  # enough for the shape of a distribution
ALL_LEVELS: Pixels = np.arange(256, dtype=np.uint8)


@dataclass(frozen=True)
class Neighbours:
    """The nearest images, nearest first."""

    indices: npt.NDArray[np.int64]  # (N, K), in the split
    distances: Floats  # (N, K), root of the mean squared difference of coarse pixels, in [0, 1]


def show_neighbours(
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
    images = draw_samples(
        sampler,
        config.num_samples,
        temperature=config.temperature,
        seed=config.seed,
        should_stop=should_stop,
    )
    samples, levels = as_bytes(images), seen_levels(sampler.model.config)
    nearest = find_nearest(
        samples, split.images, config.num_neighbours, levels=levels, should_stop=should_stop
    )
    distances = nearest.distances[:, 0]
    numbers: dict[str, object] = {
        "indices": nearest.indices.tolist(),
        "distances": nearest.distances.tolist(),
    }
    pictures = []
    if held_out is not None:
        queries = levels[choose_evenly(held_out.images, MAX_HELD_OUT)]
        reference = find_nearest(
            queries, split.images, 1, levels=levels, should_stop=should_stop
        ).distances[:, 0]
        numbers |= compare_with_held_out(distances, reference)
        # Of another data set, images of the test split may be among those that were trained on.
        is_new = was_trained_on(sampler.manifest, split.manifest) is True
        name = f"{len(reference)} test images" + (", not trained on" if is_new else "")
        pictures = [_show_distances(config, distances, reference, name)]
    png = draw_rows(
        [
            np.concatenate([sample[None], levels[split.images[indices]]])
            for sample, indices in zip(samples, nearest.indices, strict=True)
        ],
        title=f"Samples at temperature {config.temperature:g}, "
        f"and the nearest {config.split} images",
        row_labels=[f"{distance:.3f}" for distance in distances],
        corner="distance to 1.",
        column_labels=["sample", *(f"{k + 1}." for k in range(nearest.indices.shape[1]))],
        apart=1,
    )
    return [Picture("nearest_images", png, numbers), *pictures]


def find_nearest(
    queries: Pixels,
    images: Pixels,
    num_neighbours: int,
    *,
    levels: Pixels = ALL_LEVELS,
    should_stop: Callable[[], bool] | None = None,
) -> Neighbours:
    """Return the nearest images (M, H, W, C) of each query (N, H, W, C); all are looked at.

    Both are compared after down-sampling by 4 (means of 4 × 4 pixels), on the central crop: without
    a quarter, rounded down, at each side. `images` may be a memory map: it is read once, in blocks.
    `levels` are what the levels of `images` are to the model that made the queries.

    Raises:
        SamplingStopped: `should_stop`, asked before each block, said so.
    """
    coarse = coarse_centres(queries)
    num_kept = min(num_neighbours, len(images))
    indices = np.zeros((len(queries), 0), np.int64)
    squares = np.zeros((len(queries), 0))
    block_size = max(1, min(BLOCK_BYTES // images[0].nbytes, BLOCK_PAIRS // len(queries)))
    for start in range(0, len(images), block_size):
        check_stop(should_stop)
        block = coarse_centres(images[start : start + block_size], levels)
        squares = np.concatenate([squares, _squared_distances(coarse, block)], axis=1)
        block_indices = np.arange(start, start + len(block))
        indices = np.concatenate([indices, np.tile(block_indices, (len(queries), 1))], axis=1)
        # Stable, so that of equal distances the first image of the split comes first.
        order = np.argsort(squares, axis=1, kind="stable")[:, :num_kept]
        squares = np.take_along_axis(squares, order, axis=1)
        indices = np.take_along_axis(indices, order, axis=1)
    return Neighbours(indices, np.sqrt(squares / coarse.shape[1]) / 255)


def coarse_centres(images: Pixels, levels: Pixels = ALL_LEVELS) -> Floats:
    """Return the coarse central crops of images (N, H, W, C) as rows (N, D), in [0, 255]."""
    rows, columns = (_centre(size) for size in images.shape[1:3])
    crop = levels[images[:, rows, columns]]
    num_images, height, width, num_colors = crop.shape
    side = DOWNSAMPLING
    blocks = crop.reshape(num_images, height // side, side, width // side, side, num_colors)
    means: Floats = blocks.mean(axis=(2, 4), dtype=np.float64)
    return means.reshape(num_images, -1)


def _centre(size: int) -> slice:
    """Return the pixels below the central crop of one axis."""
    num_coarse = max(1, size // DOWNSAMPLING)
    margin = num_coarse // 4
    start = (size - num_coarse * DOWNSAMPLING) // 2 + margin * DOWNSAMPLING
    return slice(start, start + (num_coarse - 2 * margin) * DOWNSAMPLING)


def _squared_distances(a: Floats, b: Floats) -> Floats:
    """Return |a - b|² of all pairs of rows, (N, M); sums of pixels are exact in float64."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    distances: Floats = np.maximum(squares, 0)
    return distances


def choose_evenly(images: Pixels, count: int) -> Pixels:
    """Return so many images from all over a split, which may be in the order of its classes."""
    indices = np.unique(np.linspace(0, len(images) - 1, count).round().astype(np.int64))
    return images[indices]


def compare_with_held_out(distances: Floats, reference: Floats) -> dict[str, object]:
    """Return where nearest distances of samples (N,) are among those of held-out images (M,)."""
    quartiles = np.quantile(reference, [0.0, 0.25, 0.5, 0.75, 1.0])
    return {
        "held_out_nearest_distance_quartiles": quartiles.tolist(),
        "median_nearest_distance": float(np.median(distances)),
        # Of a copy it is 0: no held-out image has one as near.
        "shares_of_held_out_nearer": (reference[None] < distances[:, None]).mean(axis=1).tolist(),
    }


def _show_distances(
    config: NearestImages, distances: Floats, reference: Floats, name: str
) -> Picture:
    numbers = {"samples": distances.tolist(), "held_out": reference.tolist()}
    png = draw_histogram(
        numbers["held_out"],
        numbers["samples"],
        title=f"Distance to the nearest {config.split} image",
        label="root of the mean squared difference of coarse pixels",
        names=(name, "samples"),
    )
    return Picture("nearest_distances", png, numbers)
