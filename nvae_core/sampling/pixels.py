"""Images as bytes: single PNGs, grids, arrays; and saying in the progress that they are there."""

import io
import math
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from nvae_core.run_directory import ArtifactLine, RunDirectory, write_atomically

Pixels = npt.NDArray[np.uint8]  # (N, H, W, C)
SEPARATOR = 2
SEPARATOR_COLOR = 200
PNG = "image/png"


def to_pixels(images: Tensor) -> Pixels:
    """Return images (N, C, H, W) in [0, 1] as bytes (N, H, W, C)."""
    pixels: Pixels = images.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def arrange_grid(pixels: Pixels) -> Pixels:
    """Arrange images (N, H, W, C) in the squarest grid, (rows, columns, C)."""
    num_images, height, width, num_colors = pixels.shape
    num_columns = math.ceil(math.sqrt(num_images))
    num_rows = math.ceil(num_images / num_columns)
    cell_height, cell_width = height + SEPARATOR, width + SEPARATOR
    shape = (num_rows * cell_height + SEPARATOR, num_columns * cell_width + SEPARATOR, num_colors)
    grid = np.full(shape, SEPARATOR_COLOR, np.uint8)
    for index, image in enumerate(pixels):
        row, column = divmod(index, num_columns)
        top, left = SEPARATOR + row * cell_height, SEPARATOR + column * cell_width
        grid[top : top + height, left : left + width] = image
    return grid


def encode_png(image: Pixels) -> bytes:
    """Return one image (H, W, C) as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()


def encode_array(pixels: Pixels) -> bytes:
    """Return images (N, H, W, C) as `.npz` with the one array `images`."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=np.ascontiguousarray(pixels))
    return buffer.getvalue()


def save_grid(path: Path, images: Tensor) -> None:
    """Write a grid of images (N, C, H, W) in [0, 1] as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, encode_png(arrange_grid(to_pixels(images))))


def report_grid(run: RunDirectory, name: str, images: Tensor, *, step: int) -> None:
    """Save a grid of images among the run's samples, and say so in its progress."""
    content = encode_png(arrange_grid(to_pixels(images)))
    report_file(run, name, content, content_type=PNG, step=step)


def report_file(
    run: RunDirectory, name: str, content: bytes, *, content_type: str, step: int
) -> None:
    """Save a file among the run's samples, and say so in its progress."""
    run.samples.mkdir(parents=True, exist_ok=True)
    write_atomically(run.samples / name, content)
    path = f"{run.samples.name}/{name}"
    run.append(
        ArtifactLine(at=time.time(), name=name, path=path, content_type=content_type, step=step)
    )
