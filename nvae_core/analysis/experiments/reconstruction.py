"""Images of a split, and what the model makes of their latents."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nvae_core.analysis.image_grid import Pixels, draw_rows
from nvae_core.analysis.report import Picture, check_finite, to_pixels
from nvae_core.config import Interpolation, Reconstructions
from nvae_core.data.dataset import PreparedSplit
from nvae_core.data.preprocess import to_repeatable_input
from nvae_core.model.nvae import NVAE
from nvae_core.run_directory import InvalidRunDirectory
from nvae_core.sampling.draw import check_stop, images_per_pass
from nvae_core.sampling.grids import as_bytes
from nvae_core.sampling.sampler import Sampler
from nvae_core.seeding import Stream, draw_noise, seeded_generator

MAX_BATCH_SIZE = 8  # between two batches one may stop
MAX_COLUMNS = 12  # of images beside each other; more go on below


@dataclass(frozen=True)
class Reconstructed:
    """Reconstructions of images, and the ELBO terms of the latents they are of, in nats."""

    images: Tensor  # (B, C, H, W) in [0, 1], without padding
    reconstruction_loss: Tensor  # (B,)
    kl: Tensor  # (B,)

    def bits_per_dim(self) -> Tensor:
        """Return the negative ELBO of each image by these latents, in bits per dimension, (B,)."""
        nats = self.reconstruction_loss + self.kl
        return nats / (math.log(2) * self.images[0].numel())


def show_reconstructions(
    config: Reconstructions,
    sampler: Sampler,
    split: PreparedSplit,
    *,
    should_stop: Callable[[], bool],
) -> Picture:
    """Show images, and below each what its posterior gives: the means, or one sample."""
    x = read_inputs(config, sampler, split)
    noise = _posterior_noise(config, sampler)
    result = reconstruct(sampler.model, x, noise, should_stop=should_stop)
    images, reconstructions = input_pixels(x, sampler), to_pixels(result.images)
    check_finite(result.reconstruction_loss, result.kl)
    png = draw_rows(
        [images, reconstructions],
        title=f"Images of the {config.split} split, and their reconstructions",
        row_labels=["image", f"posterior {config.posterior}"],
        column_labels=[str(index) for index in config.images],
        max_columns=MAX_COLUMNS,
    )
    numbers = {
        "root_mean_squared_errors": pixel_distances(images, reconstructions),
        "reconstruction_losses": result.reconstruction_loss.tolist(),
        "kls": result.kl.tolist(),
        "bits_per_dim": result.bits_per_dim().tolist(),
    }
    return Picture("reconstructions", png, numbers)


@torch.no_grad()
def reconstruct(
    model: NVAE,
    x: Tensor,
    noise: Sequence[Tensor],
    *,
    should_stop: Callable[[], bool] | None = None,
) -> Reconstructed:
    """Return what padded images x (B, C, R, R) become by samples of their posteriors.

    Noise of zeros stands for the means: those of each group, given the means above.

    Raises:
        SamplingStopped: `should_stop`, asked before each batch, said so.
    """
    images, losses, kls = [], [], []
    size = batch_size(x)
    for start in range(0, len(x), size):
        check_stop(should_stop)
        batch = slice(start, start + size)
        output = model.reconstruct(model.encode(x[batch]), [group[batch] for group in noise])
        images.append(output.image.mean())
        losses.append(-output.log_prob(x[batch]))
        kls.append(output.kl_per_channel().sum(dim=(1, 2)))
    return Reconstructed(torch.cat(images), torch.cat(losses), torch.cat(kls))


def batch_size(x: Tensor) -> int:
    """Return how many images like those of x (B, C, R, R) one pass may encode or decode."""
    return min(MAX_BATCH_SIZE, images_per_pass(x.device, x.shape[-1]))


def read_inputs(
    config: Reconstructions | Interpolation, sampler: Sampler, split: PreparedSplit
) -> Tensor:
    """Return the model's input (B, C, R, R) of the images that are named.

    Raises:
        InvalidRunDirectory: the split has not so many.
    """
    missing = [index for index in config.images if index >= len(split.images)]
    if missing:
        raise InvalidRunDirectory(
            f"images: {missing[0]} is not one of the {len(split.images)} images of the split"
        )
    x = to_repeatable_input(split.images, config.images, sampler.model.config, config.seed)
    return x.to(sampler.device)


def input_pixels(x: Tensor, sampler: Sampler) -> Pixels:
    """Return padded inputs as images (B, H, W, C), binarized where the model takes them so."""
    model = sampler.model.config
    inside = slice(model.image_padding, model.image_padding + model.image_size)
    return as_bytes(x[:, :, inside, inside])


def pixel_distances(images: Pixels, others: Pixels) -> list[float]:
    """Return the root of the mean squared difference of each pair (N, H, W, C), in [0, 1]."""
    squares = (images.astype(np.float64) - others) ** 2
    distances: list[float] = (np.sqrt(squares.mean(axis=(1, 2, 3))) / 255).tolist()
    return distances


def _posterior_noise(config: Reconstructions, sampler: Sampler) -> list[Tensor]:
    """Return the noise of each group; that of an image depends on the seed and its index alone."""
    if config.posterior == "mean":
        shapes = sampler.model.noise_shapes(len(config.images))
        return [torch.zeros(shape, device=sampler.device) for shape in shapes]
    shapes, cpu = sampler.model.noise_shapes(1), torch.device("cpu")
    draws = [
        draw_noise(shapes, seeded_generator(cpu, Stream.LATENTS, config.seed, index))
        for index in config.images
    ]
    return [torch.cat(group).to(sampler.device) for group in zip(*draws, strict=True)]
