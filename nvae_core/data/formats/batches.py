"""CIFAR-10 and ImageNet 32: files of rows, each a red, a green and a blue plane of 32x32."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from nvae_core.data.formats.npy import StoredArray, find_array
from nvae_core.data.formats.pickled_batch import read_pickled_rows
from nvae_core.data.formats.rows import PLANES, planes_to_images
from nvae_core.data.invalid import InvalidDataset
from nvae_core.data.streams import Images, ImageStream, SplitName, SplitStream

SIDE = 32
NUM_COLUMNS = PLANES * SIDE * SIDE


@dataclass(frozen=True)
class BatchFile:
    """One batch; `at_path` gives a path to read it from, for as long as it is entered."""

    name: str
    at_path: Callable[[], AbstractContextManager[Path]]

    def count(self) -> int:
        """Return the number of images."""
        with self.at_path() as path:
            if path.suffix == ".npz":
                return self._find_rows(path).shape[0]
            return len(read_pickled_rows(path, num_columns=NUM_COLUMNS))

    def read(self) -> Iterator[Images]:
        """Yield the images."""
        with self.at_path() as path:
            if path.suffix == ".npz":
                for rows in self._find_rows(path).read_rows():
                    yield planes_to_images(rows, SIDE)
            else:
                yield planes_to_images(read_pickled_rows(path, num_columns=NUM_COLUMNS), SIDE)

    def _find_rows(self, path: Path) -> StoredArray:
        rows = find_array(path, "data")
        if rows.shape[1:] != (NUM_COLUMNS,):
            raise InvalidDataset(
                f"source.path: {self.name} has rows of {rows.shape[1:]}, not of {NUM_COLUMNS} bytes"
            )
        return rows


def stream_batches(splits: Mapping[SplitName, Sequence[BatchFile]], *, licence: str) -> ImageStream:
    """Return the images of these batches, one file after the other."""

    def stream_split(files: Sequence[BatchFile]) -> SplitStream:
        return SplitStream(
            sum(file.count() for file in files),
            lambda: (images for file in files for images in file.read()),
        )

    return ImageStream(
        height=SIDE,
        width=SIDE,
        num_colors=PLANES,
        splits={split: stream_split(files) for split, files in splits.items()},
        licence=licence,
    )
