"""Images of samples from the prior; each image has noise of its own, whatever the batches."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from nvae_core.inference.network import FoldedDecoder, fold_decoder
from nvae_core.model.decoder import Decoder
from nvae_core.model.images import ImageDistribution
from nvae_core.model.noise import Stream, draw_noise, seeded_generator
from nvae_core.model.nvae import NVAE

MAX_BATCH_SIZE = 64
MAX_NOISE_VALUES = 2**26  # of one batch: 256 MiB
SHARED = 1  # key of the latents that all images of a seed share


def draw_images(
    model: NVAE, num_images: int, *, temperature: float, generator: torch.Generator
) -> Tensor:
    """Return mean images of samples from the prior, (N, C, H, W) in [0, 1], without padding."""
    decoder, drawn = fold_decoder(model.decoder), []
    size = batch_size_of(model.decoder)
    for start in range(0, num_images, size):
        noise = draw_noise(model.noise_shapes(min(size, num_images - start)), generator)
        drawn.append(decoder.generate(noise, temperature).mean())
    return torch.cat(drawn)


class LatentNoise:
    """Noise of the images of one seed.

    Image 7 of a seed has the same noise whether it is drawn among 8 images or among 1000. That
    of the top scales that are held fixed is the same for all images, and that of a scale is the
    same however many scales above or below are held fixed.
    """

    def __init__(
        self, decoder: Decoder, *, seed: int, fixed_groups: int, device: torch.device
    ) -> None:
        self._shapes = decoder.noise_shapes(1)
        self._seed = seed
        self._device = device
        shared = draw_noise(self._shapes, seeded_generator(device, Stream.LATENTS, seed, SHARED))
        self._shared = shared[:fixed_groups]

    def of_images(self, indices: Sequence[int]) -> list[Tensor]:
        """Return the noise of these images for each group, top first: (B, Z, H, W)."""
        own = [self._draw(index) for index in indices]
        noise = [torch.cat(group) for group in zip(*own, strict=True)]
        for group, shared in enumerate(self._shared):
            noise[group] = shared.expand_as(noise[group])
        return noise

    def _draw(self, index: int) -> tuple[Tensor, ...]:
        key = (self._seed, 0, index)
        return draw_noise(self._shapes, seeded_generator(self._device, Stream.LATENTS, *key))


def draw_batches(
    decoder: FoldedDecoder,
    noise: LatentNoise,
    batches: Sequence[range],
    *,
    temperature: float,
    image: Literal["mean", "draw"],
    pixels: torch.Generator,
) -> Iterator[Tensor]:
    """Yield the images (B, C, H, W) in [0, 1] of each batch of indices."""
    for indices in batches:
        distribution = decoder.generate(noise.of_images(indices), temperature)
        yield _image_of(distribution, image, pixels)


def split_batches(num_images: int, decoder: Decoder) -> list[range]:
    """Return the indices of each batch; they depend on the model alone."""
    size = batch_size_of(decoder)
    return [range(start, min(start + size, num_images)) for start in range(0, num_images, size)]


def batch_size_of(decoder: Decoder) -> int:
    """Return how many images are drawn together: fewer of a model with many latents."""
    num_latents = sum(
        channels * height * width for channels, height, width in decoder.latent_shapes
    )
    return max(1, min(MAX_BATCH_SIZE, MAX_NOISE_VALUES // num_latents))


def _image_of(
    distribution: ImageDistribution, image: Literal["mean", "draw"], pixels: torch.Generator
) -> Tensor:
    return distribution.mean() if image == "mean" else distribution.draw(pixels)
