"""Images that are an array already, in an `.npy` or `.npz` file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nvae_core.config import ArraySource
from nvae_core.data.formats.npy import StoredArray, find_array, list_arrays
from nvae_core.data.formats.rows import MAX_SIDE
from nvae_core.data.invalid import InvalidDataset, shown
from nvae_core.data.streams import (
    SPLITS,
    Images,
    ImageStream,
    SplitName,
    SplitStream,
    split_indices,
)

COLORS = (1, 3)
LICENCE = "not known: it is that of the images"


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
        height=height, width=width, num_colors=num_colors, splits=splits, licence=LICENCE
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
