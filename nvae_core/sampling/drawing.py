"""Images drawn from the prior."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from nvae_core.model.decoder import Decoder
from nvae_core.seeding import draw_noise

BATCH_SIZE = 64


class SamplingStopped(Exception):
    """The sampling was asked to stop."""


def never() -> bool:
    """Do not stop."""
    return False


@torch.no_grad()
def draw_images(
    decoder: Decoder,
    num_images: int,
    *,
    temperature: float,
    generator: torch.Generator,
    pixels: torch.Generator | None = None,
    num_shared_groups: int = 0,
    should_stop: Callable[[], bool] = never,
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
        should_stop: asked before each batch.

    Raises:
        SamplingStopped: `should_stop` said so.
    """
    drawn: list[Tensor] = []
    shared: Sequence[Tensor] = ()
    for batch_size in _batches(num_images):
        if should_stop():
            raise SamplingStopped
        noise = draw_noise(decoder.noise_shapes(batch_size), generator)
        shared = shared or [group[:1].clone() for group in noise[:num_shared_groups]]
        # Equal noise from the top down gives equal states, and so equal latents.
        held = [group.expand(batch_size, -1, -1, -1) for group in shared]
        image = decoder.generate(
            [*held, *noise[num_shared_groups:]], batch_size=batch_size, temperature=temperature
        ).image
        drawn.append(image.mean() if pixels is None else image.draw(pixels))
    return torch.cat(drawn)


def _batches(num_images: int) -> Iterator[int]:
    for start in range(0, num_images, BATCH_SIZE):
        yield min(BATCH_SIZE, num_images - start)
