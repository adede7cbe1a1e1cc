"""Images that are an array already, in an `.npy` or `.npz` file, read without trusting it."""

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from nvae_core.config import ArraySource
from nvae_core.data.archives import ZipFiles
from nvae_core.data.dataset import SPLITS, Images, SplitName
from nvae_core.data.errors import InvalidDataset, refuse_damage, shown
from nvae_core.data.sources.stream import (
    MAX_SIDE,
    UNKNOWN_LICENCE,
    ImageStream,
    SplitStream,
    split_indices,
    stream_rows,
)

COLORS = (1, 3)
MAX_HEADER_CHARACTERS = 10_000


@dataclass(frozen=True)
class StoredArray:
    """An array of bytes whose header has been checked against the size of its file."""

    path: Path
    entry: str | None  # of an npz
    shape: tuple[int, ...]

    def read_rows(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the rows, a few at a time.

        Raises:
            InvalidDataset: the file is damaged.
        """
        with refuse_damage(self.path.name), _opened(self.path, self.entry) as (file, _):
            _read_header(file)
            yield from stream_rows(file, self.shape)


def list_arrays(path: Path) -> list[str]:
    """Return the names of the arrays in an npz."""
    with closing(ZipFiles(path)) as archive:
        return [name.removesuffix(".npy") for name in archive.names() if name.endswith(".npy")]


def find_array(path: Path, name: str | None = None) -> StoredArray:
    """Find the array of an npy, or the one of this name in an npz.

    Raises:
        InvalidDataset: it is not an array of `uint8` in C order, or does not take the bytes that
            are there.
    """
    entry = None if name is None else f"{name}.npy"
    label = path.name if entry is None else f"{path.name}, {entry}"
    with refuse_damage(label), _opened(path, entry) as (file, num_bytes):
        shape, is_fortran, dtype = _read_header(file)
        num_claimed_bytes = file.tell() + math.prod(shape)
    if dtype != np.uint8 or is_fortran:
        order = "Fortran" if is_fortran else "C"
        message = f"{label} is {dtype} in {order} order; it must be uint8 in C order"
        raise InvalidDataset(f"source.path: {message}")
    if min(shape, default=0) < 1 or num_claimed_bytes != num_bytes:
        message = f"{label} claims the shape {shape}, which does not take its {num_bytes} bytes"
        raise InvalidDataset(f"source.path: {message}")
    return StoredArray(path, entry, shape)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    if np.lib.format.read_magic(file) != (1, 0):  # others are for headers above 64 KiB
        raise ValueError("it is not of version 1.0 of the npy format")
    return np.lib.format.read_array_header_1_0(file, MAX_HEADER_CHARACTERS)


@contextmanager
def _opened(path: Path, entry: str | None) -> Iterator[tuple[IO[bytes], int]]:
    if not path.is_file():
        raise InvalidDataset(f"source.path: there is no file {path}")  # a pipe has no end
    if entry is None:
        with path.open("rb") as file:
            yield file, path.stat().st_size
        return
    with closing(ZipFiles(path)) as archive, archive.open(entry) as member:
        yield member, archive.size(entry)


def open_arrays(source: ArraySource, path: Path, seed: int) -> ImageStream:
    """Open the arrays of the splits, or divide the only array by the seed."""
    arrays = _find_splits(path)
    shapes = {_image_shape(array, path) for array in arrays.values()}
    if len(shapes) > 1:
        raise InvalidDataset(f"source.path: the arrays of {path.name} differ in size or colours")
    splits = {split: _stream(array, None) for split, array in arrays.items()}
    if "test" not in arrays:
        whole = arrays["train"]
        train, test = split_indices(whole.shape[0], source.test_fraction, seed)
        splits = {"train": _stream(whole, train), "test": _stream(whole, test)}
    height, width, num_colors = shapes.pop()
    return ImageStream(
        height=height, width=width, num_colors=num_colors, splits=splits, licence=UNKNOWN_LICENCE
    )


def _find_splits(path: Path) -> dict[SplitName, StoredArray]:
    """Return the arrays by split; `train` alone means that there is no split yet."""
    if path.suffix != ".npz":
        return {"train": find_array(path)}
    names = list_arrays(path)
    found: dict[SplitName, StoredArray] = {
        split: find_array(path, split) for split in SPLITS if split in names
    }
    if {"train", "test"} <= set(found):
        return found
    if len(names) != 1:
        listed = shown(", ".join(names))
        message = f"{path.name} has neither `train` and `test` nor one array, but: {listed}"
        raise InvalidDataset(f"source.path: {message}")
    return {"train": find_array(path, names[0])}


def _image_shape(array: StoredArray, path: Path) -> tuple[int, int, int]:
    match array.shape:
        case (_, height, width):
            shape = (height, width, 1)
        case (_, height, width, num_colors) if num_colors in COLORS:
            shape = (height, width, num_colors)
        case (_, num_colors, height, width) if num_colors in COLORS:
            shape = (height, width, num_colors)
        case _:
            message = f"{path.name} has the shape {array.shape}: not images of 1 or 3 colours"
            raise InvalidDataset(f"source.path: {message}")
    if shape[0] != shape[1] or shape[0] > MAX_SIDE:
        message = f"{path.name} has images of {shape[0]}x{shape[1]}, not squares up to {MAX_SIDE}"
        raise InvalidDataset(f"source.path: {message}")
    return shape


def _stream(array: StoredArray, chosen: npt.NDArray[np.int64] | None) -> SplitStream:
    """Return all images, or those of the sorted indices; the file is read in order either way."""
    num_images = array.shape[0] if chosen is None else len(chosen)
    return SplitStream(num_images, lambda: _read(array, chosen))


def _read(array: StoredArray, chosen: npt.NDArray[np.int64] | None) -> Iterator[Images]:
    start = 0
    for rows in array.read_rows():
        images = _to_images(rows)
        if chosen is not None:
            first, last = np.searchsorted(chosen, (start, start + len(rows)))
            images = images[chosen[first:last] - start]
        start += len(rows)
        if len(images):
            yield images


def _to_images(rows: npt.NDArray[np.uint8]) -> Images:
    if rows.ndim == 3:
        return rows[..., None]
    return rows if rows.shape[3] in COLORS else rows.transpose(0, 2, 3, 1)
