"""Arrays of `.npy` files and of entries of `.npz`, read without trusting them."""

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from nvae_core.data.files import ZipFiles
from nvae_core.data.formats.rows import stream_rows
from nvae_core.data.invalid import InvalidDataset, refuse_damage

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
