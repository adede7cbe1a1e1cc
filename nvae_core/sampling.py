"""Images drawn from the prior, batch norm re-estimated for them, and grids of them."""

import io
import math
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from nvae_core.inference.network import fold_decoder
from nvae_core.model.convolutions import hold_weights
from nvae_core.model.noise import draw_noise
from nvae_core.model.nvae import NVAE
from nvae_core.run_directory import ArtifactLine, RunDirectory, write_atomically

BATCH_SIZE = 64
RE_ESTIMATION_DRAWS = 500
RE_ESTIMATION_BATCH_SIZE = 16
SEPARATOR = 2
SEPARATOR_COLOR = 200


@torch.no_grad()
def draw_images(
    model: NVAE, num_images: int, *, temperature: float, generator: torch.Generator
) -> Tensor:
    """Return mean images of samples from the prior, (N, C, H, W) in [0, 1], without padding."""
    decoder, drawn = fold_decoder(model), []
    for start in range(0, num_images, BATCH_SIZE):
        noise = draw_noise(model.noise_shapes(min(BATCH_SIZE, num_images - start)), generator)
        drawn.append(decoder.generate(noise, temperature).mean())
    return torch.cat(drawn)


@torch.no_grad()
def re_estimate_batch_norm(
    model: NVAE,
    *,
    temperature: float,
    generator: torch.Generator,
    num_draws: int = RE_ESTIMATION_DRAWS,
) -> None:
    """Let the decoder's running statistics drift to those of samples at this temperature."""
    was_training = model.training
    model.train()
    with hold_weights(model):
        for _ in range(num_draws):
            model.generate(generator, batch_size=RE_ESTIMATION_BATCH_SIZE, temperature=temperature)
    model.train(was_training)


def arrange_grid(images: Tensor) -> npt.NDArray[np.uint8]:
    """Arrange images (N, C, H, W) in [0, 1] in the squarest grid, (rows, columns, C) of bytes."""
    pixels = (images.mul(255).round().byte().permute(0, 2, 3, 1)).cpu().numpy()
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


def report_grid(run: RunDirectory, name: str, images: Tensor, *, step: int) -> None:
    """Save a grid of images among the run's samples, and say so in its progress."""
    save_grid(run.samples / name, images)
    run.append(
        ArtifactLine(
            at=time.time(),
            name=name,
            path=f"{run.samples.name}/{name}",
            content_type="image/png",
            step=step,
        )
    )


def save_grid(path: Path, images: Tensor) -> None:
    """Write a grid of images (N, C, H, W) in [0, 1] as PNG."""
    grid = arrange_grid(images)
    buffer = io.BytesIO()
    Image.fromarray(grid[:, :, 0] if grid.shape[2] == 1 else grid).save(buffer, format="PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
