"""Grids of images, and the files of a run's samples: pictures, and the JSON beside them."""

import io
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from nvae_core.checkpoint import MODEL_NAME, CheckpointManifest
from nvae_core.config import Config
from nvae_core.run_directory import ArtifactLine, RunDirectory, write_atomically

SEPARATOR = 2
SEPARATOR_COLOR = 200
# Folders and files of this machine; the record describes what is in them.
PATHS: Any = {
    "checkpoint": True,
    "dataset": True,
    "statistics": True,
    "runs": {"__all__": {"path"}},
}


def as_bytes(images: Tensor) -> npt.NDArray[np.uint8]:
    """Return images (N, C, H, W) in [0, 1] as (N, H, W, C) of bytes."""
    pixels: npt.NDArray[np.uint8] = images.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def arrange_grid(images: Tensor) -> npt.NDArray[np.uint8]:
    """Arrange images (N, C, H, W) in [0, 1] in the squarest grid, (rows, columns, C) of bytes."""
    pixels = as_bytes(images)
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


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return one image (H, W, C) of bytes as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def report_grid(run: RunDirectory, name: str, images: Tensor, *, step: int) -> None:
    """Save a grid of images among the run's samples, and say so in its progress."""
    report_sample(run, name, encode_png(arrange_grid(images)), "image/png", step=step)


def report_sample(
    run: RunDirectory, name: str, content: bytes, content_type: str, *, step: int
) -> None:
    """Leave a file among the run's samples, and say so in its progress."""
    path = run.samples / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    run.append(
        ArtifactLine(
            at=time.time(),
            name=name,
            path=f"{run.samples.name}/{name}",
            content_type=content_type,
            step=step,
        )
    )


def report_record(run: RunDirectory, name: str, record: Mapping[str, object], *, step: int) -> None:
    """Save what pictures were made from, as JSON whose numbers are finite."""
    content = json.dumps(record, indent=2, allow_nan=False).encode()
    report_sample(run, name, content, "application/json", step=step)


def describe_inputs(config: Config) -> dict[str, object]:
    """Return the configuration of a run without paths: the same on every machine."""
    return config.model_dump(mode="json", exclude=PATHS)


def describe_checkpoint(folder: str, manifest: CheckpointManifest) -> dict[str, object]:
    """Return which checkpoint it was; the folder of a job's checkpoint has its id for a name."""
    return {
        "name": Path(folder).name,
        "step": manifest.step,
        "seed": manifest.seed,
        "model_sha256": manifest.files[MODEL_NAME].sha256,
    }
