"""Writes the array of one split batch by batch, and hashes it on the way."""

import hashlib
import io
import os
from pathlib import Path
from typing import IO

import numpy as np

from nvae_core.data.streams import Images
from nvae_core.run_directory import file_sha256


class SplitWriter:
    """An `.npy` file that grows; numpy leaves room in its header for another count."""

    def __init__(self, path: Path, num_images: int, image_shape: tuple[int, int, int]) -> None:
        self._path = path
        self._image_shape = image_shape
        self._num_expected = num_images
        self.num_images = 0
        self._hash = hashlib.sha256()
        self._file: IO[bytes] = path.open("wb")
        self._write(_header(num_images, image_shape))

    def append(self, images: Images) -> None:
        """Append images: (N, H, W, C)."""
        assert images.shape[1:] == self._image_shape
        self._write(np.ascontiguousarray(images).data)
        self.num_images += len(images)

    def finish(self) -> str:
        """Make the file durable and return its SHA-256; fewer images than expected are fine."""
        with self._file:
            if self.num_images != self._num_expected:
                self._file.seek(0)
                self._file.write(_header(self.num_images, self._image_shape))
            self._file.flush()
            os.fsync(self._file.fileno())
        if self.num_images != self._num_expected:
            return file_sha256(self._path)
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file, finished or not."""
        self._file.close()

    def _write(self, content: bytes | memoryview) -> None:
        self._hash.update(content)
        self._file.write(content)


def _header(num_images: int, image_shape: tuple[int, int, int]) -> bytes:
    header = io.BytesIO()
    description = {"descr": "|u1", "fortran_order": False, "shape": (num_images, *image_shape)}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()
