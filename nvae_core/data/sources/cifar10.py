"""CIFAR-10, and the batches of rows in which ImageNet 32 is published too."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nvae_core.data.archives import unpack_files
from nvae_core.data.dataset import Images, SplitName
from nvae_core.data.errors import InvalidDataset, refuse_damage
from nvae_core.data.sources.arrays import find_array
from nvae_core.data.sources.pickled_batch import read_pickled_rows
from nvae_core.data.sources.stream import ImageStream, SplitStream, stream_rows

SIDE = 32
PLANES = 3  # red, green, blue
NUM_COLUMNS = PLANES * SIDE * SIDE
Rows = npt.NDArray[np.uint8]

# The binary release has rows of a label and the bytes of the pickled ones.
FOLDERS = ("cifar-10-batches-py", "cifar-10-batches-bin")
BINARY_SUFFIX = ".bin"
SUFFIXES = ("", BINARY_SUFFIX)
LABEL_BYTES = 1
NUM_CLASSES = 10
FILES: dict[SplitName, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test": ("test_batch",),
}
NAMES = FILES["train"] + FILES["test"]
LICENCE = "CIFAR-10: no licence stated; its authors ask to be cited (Krizhevsky, 2009)"


@dataclass(frozen=True)
class BatchFile:
    """One batch; it lies at the path while what `unpacked` returns is entered."""

    path: Path
    unpacked: Callable[[], AbstractContextManager[None]] = nullcontext

    def count(self) -> int:
        """Return the number of images."""
        with self.unpacked():
            num_rows, _ = _open_rows(self.path)
            return num_rows

    def read(self) -> Iterator[Images]:
        """Yield the images."""
        with self.unpacked():
            _, rows = _open_rows(self.path)
            for some in rows:
                yield some.reshape(-1, PLANES, SIDE, SIDE).transpose(0, 2, 3, 1)


def _open_rows(path: Path) -> tuple[int, Iterator[Rows]]:
    """Return the number of rows (N, 3072) of a batch, and what reads them."""
    if path.suffix == ".npz":
        array = find_array(path, "data")
        if array.shape[1:] != (NUM_COLUMNS,):
            raise InvalidDataset(
                f"source.path: {path.name} has rows of {array.shape[1:]}, "
                f"not of {NUM_COLUMNS} bytes"
            )
        return array.shape[0], array.read_rows()
    if path.suffix == BINARY_SUFFIX:
        num_rows, rest = divmod(path.stat().st_size, LABEL_BYTES + NUM_COLUMNS)
        if rest or not num_rows:
            raise InvalidDataset(
                f"source.path: {path.name} has {path.stat().st_size} bytes, which are not rows of "
                f"a label and {NUM_COLUMNS} bytes"
            )
        return num_rows, _read_binary(path, num_rows)
    rows = read_pickled_rows(path, num_columns=NUM_COLUMNS)
    return len(rows), iter([rows])


def _read_binary(path: Path, num_rows: int) -> Iterator[Rows]:
    with refuse_damage(path.name), path.open("rb") as file:
        for rows in stream_rows(file, (num_rows, LABEL_BYTES + NUM_COLUMNS)):
            if rows[:, 0].max() >= NUM_CLASSES:
                raise InvalidDataset(
                    f"source.path: {path.name} has a label of {rows[:, 0].max()}, not 0 to 9"
                )
            yield rows[:, LABEL_BYTES:]


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
    """Open the batches of both splits, unpacking the archive into `scratch` if it is one.

    They are the pickled or the binary ones, whichever are there.
    """
    if path.is_file():
        unpack_files(path, {f"{name}{suffix}" for name in NAMES for suffix in SUFFIXES}, scratch)
        folder = scratch
    else:
        folder = next((path / name for name in FOLDERS if (path / name).is_dir()), path)
    # The first is named where there are none.
    suffix = next((s for s in SUFFIXES if any((folder / f"{n}{s}").is_file() for n in NAMES)), "")
    files = {
        split: [_find(folder, f"{name}{suffix}") for name in names]
        for split, names in FILES.items()
    }
    return stream_batches(files, licence=LICENCE)


def _find(folder: Path, name: str) -> BatchFile:
    path = folder / name
    if not path.is_file():
        raise InvalidDataset(f"source.path: {name} is missing")
    return BatchFile(path)
