"""Images drawn from the prior, in passes of a bounded size."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nvae_core.model.decoder import Decoder
from nvae_core.seeding import draw_noise

NOISE_BATCH_SIZE = 64  # images whose noise is drawn at once, whatever a pass takes
MAX_PIXELS = {"cpu": 2**16, "cuda": 2**20}  # of all images of one pass, B × R × R


class SamplingStopped(Exception):
    """The sampling was asked to stop."""


def check_stop(should_stop: Callable[[], bool] | None) -> None:
    """Raise SamplingStopped if there is somebody to ask, and the answer is yes."""
    if should_stop is not None and should_stop():
        raise SamplingStopped


def images_per_pass(device: torch.device, resolution: int) -> int:
    """Return how many images (R, R) the network takes at once: as many as fit, one at least."""
    return max(1, MAX_PIXELS.get(device.type, MAX_PIXELS["cpu"]) // resolution**2)


@torch.no_grad()
def draw_images(
    decoder: Decoder,
    num_images: int,
    *,
    temperature: float,
    generator: torch.Generator,
    pixels: torch.Generator | None = None,
    num_shared_groups: int = 0,
    should_stop: Callable[[], bool] | None = None,
) -> Tensor:
    """Return images of samples from the prior, (N, C, H, W) in [0, 1], without padding.

    Args:
        decoder: with the batch-norm statistics to use.
        num_images: how many.
        temperature: by which the priors' standard deviations are scaled.
        generator: of the latents; image i has the same ones whatever `num_shared_groups` is, in
            the groups that are not shared.
        pixels: from which the images are drawn; None for the means of their distributions.
        num_shared_groups: top groups whose latents all images have from the first one.
        should_stop: asked before each pass.

    Raises:
        SamplingStopped: `should_stop` said so.
    """
    images: list[Tensor] = []
    first: Sequence[Tensor] = ()
    pass_size = images_per_pass(generator.device, decoder.config.resolution)
    for start in range(0, num_images, NOISE_BATCH_SIZE):
        batch_size = min(NOISE_BATCH_SIZE, num_images - start)
        noise = draw_noise(decoder.noise_shapes(batch_size), generator)
        first = first or [group[:1].clone() for group in noise[:num_shared_groups]]
        # Equal noise from the top down gives equal states, and so equal latents.
        shared = [group.expand(batch_size, -1, -1, -1) for group in first]
        for parts in zip(
            *(torch.split(group, pass_size) for group in (*shared, *noise[num_shared_groups:])),
            strict=True,
        ):
            check_stop(should_stop)
            image = decoder.generate(parts, batch_size=len(parts[0]), temperature=temperature).image
            images.append(image.mean() if pixels is None else image.draw(pixels))
    return torch.cat(images)
