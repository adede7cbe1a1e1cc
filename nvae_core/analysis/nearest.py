"""Exact nearest images of a split, in the coarse centre of the image (Fig. 6)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nvae_core.sampling.draw import check_stop

DOWNSAMPLING = 4
BLOCK_BYTES = 64 * 2**20  # of pixels at a time
BLOCK_PAIRS = 2**22  # of distances at a time: 32 MiB, a few times

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
ALL_LEVELS: Pixels = np.arange(256, dtype=np.uint8)


@dataclass(frozen=True)
class Neighbours:
    """The nearest images, nearest first."""

    indices: npt.NDArray[np.int64]  # (N, K), in the split
    distances: Floats  # (N, K), root of the mean squared difference of coarse pixels, in [0, 1]


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
        found = _squared_distances(coarse, block)
        squares = np.concatenate([squares, found], axis=1)
        numbers = np.arange(start, start + len(block))
        indices = np.concatenate([indices, np.tile(numbers, (len(queries), 1))], axis=1)
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
    blocks = crop.reshape(
        num_images,
        height // DOWNSAMPLING,
        DOWNSAMPLING,
        width // DOWNSAMPLING,
        DOWNSAMPLING,
        num_colors,
    )
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
