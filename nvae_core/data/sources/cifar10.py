"""CIFAR-10, and the batches of rows in which ImageNet 32 is published too."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from nvae_core.data.archives import unpack_files
from nvae_core.data.dataset import Images, SplitName
from nvae_core.data.errors import InvalidDataset
from nvae_core.data.sources.arrays import StoredArray, find_array
from nvae_core.data.sources.pickled_batch import read_pickled_rows
from nvae_core.data.sources.stream import PLANES, ImageStream, SplitStream, planes_to_images

SIDE = 32
NUM_COLUMNS = PLANES * SIDE * SIDE
FOLDER = "cifar-10-batches-py"
FILES: dict[SplitName, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test": ("test_batch",),
}
LICENCE = "CIFAR-10: no licence stated; its authors ask to be cited (Krizhevsky, 2009)"


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


def open_cifar10(path: Path, scratch: Path) -> ImageStream:
    """Open the batches of both splits, unpacking the archive into `scratch` if it is one."""
    if path.is_file():
        unpack_files(path, {name for names in FILES.values() for name in names}, scratch)
        folder = scratch
    else:
        folder = path / FOLDER if (path / FOLDER).is_dir() else path
    batches = {split: [_find(folder, name) for name in names] for split, names in FILES.items()}
    return stream_batches(batches, licence=LICENCE)


def _find(folder: Path, name: str) -> BatchFile:
    path = folder / name
    if not path.is_file():
        raise InvalidDataset(f"source.path: {name} is missing")
    return BatchFile(name, lambda: nullcontext(path))
