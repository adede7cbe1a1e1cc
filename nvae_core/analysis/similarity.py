"""Exact search for the images that are most like others (Fig. 6 of the paper)."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nvae_core.data.streams import Images

DOWNSAMPLING = 4
MIN_CROPPED_SIZE = 64

Features = npt.NDArray[np.float64]  # (N, D), whole numbers, so that sums of squares are exact


@dataclass(frozen=True)
class Measure:
    """What of an image is compared: areas of 4×4 pixels, within a central crop.

    From 64 pixels on the crop is half as wide and high as the image: faces are aligned, and their
    eyes, nose and mouth are there. Smaller images are digits and things of all kinds, of which
    half would leave 4×4 areas: they are compared whole.
    """

    image_size: int

    @property
    def area_size(self) -> int:
        """Height and width of an area, in pixels."""
        return min(DOWNSAMPLING, self.image_size)

    @property
    def num_areas(self) -> int:
        """Areas along the height and the width of the crop."""
        num_areas = self.image_size // self.area_size
        return num_areas // 2 if self.image_size >= MIN_CROPPED_SIZE else num_areas

    @property
    def crop_size(self) -> int:
        """Height and width of the crop, in pixels."""
        return self.num_areas * self.area_size

    def features(self, images: Images) -> Features:
        """Return the sum of each area and colour of images (N, H, W, C): (N, D)."""
        start = (self.image_size - self.crop_size) // 2
        stop, size = start + self.crop_size, self.area_size
        shape = (len(images), self.num_areas, self.num_areas, images.shape[3])
        sums = np.zeros(shape, np.uint16)  # 16 bytes at most
        for row in range(size):
            for column in range(size):
                sums += images[:, start + row : stop : size, start + column : stop : size]
        return sums.reshape(len(images), math.prod(shape[1:])).astype(np.float64)

    def distances(self, squared: Features) -> Features:
        """Return squared distances of features as L2 distances of area means in [0, 1]."""
        return np.sqrt(squared) / (255 * self.area_size**2)


@dataclass(frozen=True)
class Neighbours:
    """Of each query the nearest images, nearest first; of equally near ones the first."""

    indices: npt.NDArray[np.int64]  # (Q, K)
    squared: Features  # (Q, K)


class NearestSearch:
    """The nearest of all images that were added so far, for each of some queries."""

    def __init__(self, queries: Features, *, num_neighbours: int) -> None:
        self._queries = queries
        self._queries_squared = np.square(queries).sum(axis=1)
        self._num_seen = 0
        shape = (len(queries), num_neighbours)
        self._best = Neighbours(np.full(shape, -1), np.full(shape, np.inf))

    def add(self, features: Features) -> None:
        """Look at the next images; memory is for their distances to all queries."""
        distances = self._queries @ features.T  # (Q, N): |q - f|² = |q|² - 2 q·f + |f|²
        distances *= -2
        distances += self._queries_squared[:, None]
        distances += np.square(features).sum(axis=1)
        found = _smallest(distances, min(self._best.indices.shape[1], len(features)))
        # Those of before come first, and stay first where the sort finds them equal.
        squared = np.concatenate([self._best.squared, found.squared], axis=1)
        indices = np.concatenate([self._best.indices, found.indices + self._num_seen], axis=1)
        order = np.argsort(squared, axis=1, kind="stable")[:, : self._best.indices.shape[1]]
        self._best = Neighbours(
            np.take_along_axis(indices, order, axis=1), np.take_along_axis(squared, order, axis=1)
        )
        self._num_seen += len(features)

    def result(self) -> Neighbours:
        """Return the nearest; there have to have been as many images."""
        assert self._num_seen >= self._best.indices.shape[1]
        return self._best


def _smallest(distances: Features, count: int) -> Neighbours:
    """Return the smallest of each row, in order; the distances are overwritten."""
    rows = np.arange(len(distances))
    indices = np.empty((len(distances), count), np.int64)
    squared = np.empty((len(distances), count))
    for rank in range(count):
        indices[:, rank] = distances.argmin(axis=1)
        squared[:, rank] = distances[rows, indices[:, rank]]
        distances[rows, indices[:, rank]] = np.inf
    return Neighbours(indices, squared)
