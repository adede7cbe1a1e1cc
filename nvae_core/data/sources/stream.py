"""Images of a source, batch by batch, so that no part of it has to be in memory as a whole."""

import io
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO

import numpy as np
import numpy.typing as npt

from nvae_core.data.dataset import SPLITS, Images, SplitName
from nvae_core.data.errors import InvalidDataset, UnreadableFiles
from nvae_core.seeding import Stream, derive_seed

BATCH_BYTES = 4 * 2**20  # of images, read at a time
MAX_SIDE = 1024  # of an image: a row is never large
UNKNOWN_LICENCE = "not known: it is that of the images"


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


def stream_rows(
    file: IO[bytes] | io.BufferedIOBase, shape: tuple[int, ...]
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the rows of an array of bytes that starts where the file is.

    Raises:
        EOFError: the file ends before the array does.
    """
    num_rows, *row_shape = shape
    num_row_bytes = math.prod(row_shape)
    step = max(1, BATCH_BYTES // num_row_bytes)
    for start in range(0, num_rows, step):
        count = min(step, num_rows - start)
        content = file.read(count * num_row_bytes)
        if len(content) < count * num_row_bytes:
            raise EOFError(f"it ends in row {start + len(content) // num_row_bytes} of {num_rows}")
        yield np.frombuffer(content, np.uint8).reshape(count, *row_shape)
