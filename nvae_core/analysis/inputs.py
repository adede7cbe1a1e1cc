"""Checkpoints and data sets of analyses, and that they fit each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nvae_core.config import ModelConfig
from nvae_core.data.invalid import InvalidDataset
from nvae_core.data.loader import check_fits
from nvae_core.data.pixels import to_model_input
from nvae_core.data.prepared import PreparedSplit, SplitName, open_prepared, read_manifest
from nvae_core.data.streams import Images
from nvae_core.model.images import crop
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.run_directory import InvalidRunDirectory
from nvae_core.sampling.grids import as_bytes


def open_split(folder: Path, split: SplitName, model: ModelConfig) -> PreparedSplit:
    """Open a split whose images the model takes.

    Raises:
        InvalidDataset: a file is missing or damaged, or the images are of another shape.
    """
    try:
        check_fits(read_manifest(folder), model)
    except InvalidDataset as error:
        raise InvalidDataset(f"dataset: {error}") from error
    return open_prepared(folder, split)


def take_images(opened: PreparedSplit, indices: Sequence[int], *, field: str) -> Images:
    """Return the images (N, H, W, C) of these indices.

    Raises:
        InvalidRunDirectory: there is no image of an index; the message names the field.
    """
    num_images = len(opened.images)
    for index in indices:
        if index >= num_images:
            raise InvalidRunDirectory(f"{field}: is {index}, but the split has {num_images} images")
    return np.stack([opened.images[index] for index in indices])


def as_input(images: Images, model: ModelConfig, *, seed: int, device: torch.device) -> Tensor:
    """Return the model's input (N, C, R, R), binarized where its pixels are Bernoulli."""
    # On the CPU: the binarization is the same on every device.
    generator = seeded_generator(torch.device("cpu"), Stream.PIXELS, seed)
    return to_model_input(images, model, generator).to(device)


def input_pixels(x: Tensor, model: ModelConfig) -> Images:
    """Return what the model is given, (N, C, R, R), as bytes (N, H, W, C)."""
    return as_bytes(crop(x, model.image_padding))


def reduce_levels(images: Images, model: ModelConfig) -> Images:
    """Return images (N, H, W, C) with the levels that the model can draw, still of [0, 255]."""
    if model.bit_depth == 8:
        return images
    levels = np.arange(256) >> (8 - model.bit_depth)
    table = np.round(levels * (255 / (2**model.bit_depth - 1))).astype(np.uint8)
    reduced: Images = table[images]
    return reduced
