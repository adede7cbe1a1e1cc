"""Arrays of bytes, read from a file a few rows at a time."""

import io
import math
from collections.abc import Iterator
from typing import IO

import numpy as np
import numpy.typing as npt

from nvae_core.data.streams import rows_per_batch

MAX_SIDE = 1024  # of an image: a row is never large

PLANES = 3


def stream_rows(
    file: IO[bytes] | io.BufferedIOBase, shape: tuple[int, ...]
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the rows of an array of bytes that starts where the file is.

    Raises:
        EOFError: the file ends before the array does.
    """
    num_rows, *row_shape = shape
    num_row_bytes = math.prod(row_shape)
    step = rows_per_batch(num_row_bytes)
    for start in range(0, num_rows, step):
        count = min(step, num_rows - start)
        content = file.read(count * num_row_bytes)
        if len(content) < count * num_row_bytes:
            raise EOFError(f"it ends in row {start + len(content) // num_row_bytes} of {num_rows}")
        yield np.frombuffer(content, np.uint8).reshape(count, *row_shape)


def planes_to_images(rows: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Turn rows of a red, a green and a blue plane (N, 3·H·W) into images (N, H, W, 3)."""
    return rows.reshape(-1, PLANES, side, side).transpose(0, 2, 3, 1)
