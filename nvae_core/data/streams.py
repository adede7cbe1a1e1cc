"""Images of a source, batch by batch, so that no part of it has to be in memory as a whole."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from nvae_core.data.invalid import InvalidDataset
from nvae_core.data.unreadable import UnreadableFiles
from nvae_core.seeding import Stream, derive_seed

Images = npt.NDArray[np.uint8]  # (N, H, W, C)
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

BATCH_BYTES = 4 * 2**20


@dataclass(frozen=True)
class SplitStream:
    """One split: how many images it has, unreadable ones included, and how to read them."""

    num_images: int
    read: Callable[[], Iterator[Images]]


@dataclass(frozen=True)
class ImageStream:
    """Every split of a source; nothing but headers and names has been read yet."""

    height: int
    width: int
    num_colors: int
    splits: Mapping[SplitName, SplitStream]
    licence: str
    unreadable: UnreadableFiles = field(default_factory=UnreadableFiles)

    @property
    def num_images(self) -> int:
        """Images of all splits together."""
        return sum(split.num_images for split in self.splits.values())

    @property
    def num_bytes(self) -> int:
        """Size of all prepared arrays together."""
        return self.num_images * self.height * self.width * self.num_colors


def rows_per_batch(num_row_bytes: int) -> int:
    """Return how many images of this size are read at once."""
    return max(1, BATCH_BYTES // num_row_bytes)


def split_indices(
    num_images: int, test_fraction: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Choose the images for train and test by the seed; both sorted.

    Raises:
        InvalidDataset: there are too few images for two splits.
    """
    num_test = max(1, round(num_images * test_fraction))
    if num_images <= num_test:
        raise InvalidDataset(f"source.path: {num_images} image cannot be split into train and test")
    order = np.random.default_rng(derive_seed(Stream.SPLIT, seed)).permutation(num_images)
    return np.sort(order[num_test:]), np.sort(order[:num_test])


def stream_arrays(*, licence: str = "", **splits: Images) -> ImageStream:
    """Return images that are in memory already; keywords are names of splits."""
    height, width, num_colors = splits["train"].shape[1:]

    def stream_split(images: Images) -> SplitStream:
        return SplitStream(len(images), lambda: iter([images]))

    return ImageStream(
        height=height,
        width=width,
        num_colors=num_colors,
        splits={split: stream_split(splits[split]) for split in SPLITS if split in splits},
        licence=licence,
    )
