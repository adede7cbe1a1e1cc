"""Which images of a data set are nearest to given ones; exact, and in blocks of bounded memory.

As in the paper images are down-sampled 4 times, and the distance is L2 on the central crop. What is
compared are sums of 4x4 pixels, whole numbers, so that no distance is rounded and equal images have
distance 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DOWNSAMPLING = 4
MIN_CROPPED_SIZE = 64
BLOCK_BYTES = 2**24  # of images that are looked at together

Images = npt.NDArray[np.uint8]  # (N, H, W, C), perhaps mapped from disk
Features = npt.NDArray[np.float64]  # (N, D), whole numbers


@dataclass(frozen=True)
class Neighbours:
    """The nearest images of each query, nearest first; of equally near ones the first counts."""

    indices: npt.NDArray[np.int64]  # (Q, K)
    distances: npt.NDArray[np.float64]  # (Q, K), of images in [0, 1]


def compared_region(image_size: int) -> slice:
    """Return which rows, and columns, of an image are compared: whole blocks of 4x4 pixels.

    Of images of 64 pixels and more that is the central half, where aligned faces have eyes, nose
    and mouth. Smaller ones are compared whole: a digit or an animal fills them, and half of 28
    pixels would leave 3x3 numbers, by which many images are equal.
    """
    num_blocks = image_size // DOWNSAMPLING
    num_compared = num_blocks // 2 if image_size >= MIN_CROPPED_SIZE else num_blocks
    start = (image_size - num_compared * DOWNSAMPLING) // 2
    return slice(start, start + num_compared * DOWNSAMPLING)


def features_of(images: Images) -> Features:
    """Return what is compared of images (N, H, W, C): the sums of 4x4 pixels of their region."""
    region = compared_region(images.shape[1])
    pixels = np.ascontiguousarray(images[:, region, region])
    num_images, size, _, num_colors = pixels.shape
    blocks = size // DOWNSAMPLING
    shape = (num_images, blocks, DOWNSAMPLING, blocks, DOWNSAMPLING, num_colors)
    # One axis after the other is several times faster than both at once.
    rows = pixels.reshape(shape).sum(axis=2, dtype=np.uint16)
    sums = rows.sum(axis=3, dtype=np.uint16)
    features: Features = sums.reshape(num_images, blocks * blocks * num_colors).astype(np.float64)
    return features


def blocks_of(images: Images) -> Iterator[tuple[int, Images]]:
    """Yield (index of the first image, images) of each block."""
    num_images = max(1, BLOCK_BYTES // images[0].nbytes)
    for start in range(0, len(images), num_images):
        yield start, images[start : start + num_images]


class NearestSearch:
    """The nearest images of Q queries among those that were added so far."""

    def __init__(self, queries: Features, num_neighbours: int) -> None:
        self._queries = queries
        self._squares = np.square(queries).sum(axis=1)
        self._num_neighbours = num_neighbours
        self._indices = np.empty((len(queries), 0), np.int64)
        self._distances = np.empty((len(queries), 0))  # squared

    def add(self, features: Features, first_index: int) -> None:
        """Look at the features of images, of which the first has this index."""
        # Whole numbers below 2^53: |a|^2 + |b|^2 - 2ab is exact.
        squares = np.square(features).sum(axis=1)
        distances = self._squares[:, None] + squares - 2.0 * (self._queries @ features.T)
        count = min(self._num_neighbours, len(features))
        nearest = _smallest(distances, count)
        distances = np.take_along_axis(distances, nearest, axis=1)
        all_distances = np.concatenate([self._distances, distances], axis=1)
        all_indices = np.concatenate([self._indices, nearest + first_index], axis=1)
        order = np.argsort(all_distances, axis=1, kind="stable")[:, : self._num_neighbours]
        self._distances = np.take_along_axis(all_distances, order, axis=1)
        self._indices = np.take_along_axis(all_indices, order, axis=1)

    def result(self) -> Neighbours:
        """Return the neighbours; fewer than were asked for where there are fewer images."""
        # From sums of 16 pixels in [0, 255] to their mean in [0, 1].
        scale = 255.0 * DOWNSAMPLING**2
        return Neighbours(self._indices, np.sqrt(self._distances) / scale)


def _smallest(values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """Return the columns of the smallest values of each row, in order; the first of equal ones."""
    if count == 1:
        first: npt.NDArray[np.int64] = values.argmin(axis=1)[:, None]
        return first
    columns: npt.NDArray[np.int64] = np.argsort(values, axis=1, kind="stable")[:, :count]
    return columns
