"""What each scale decides: its latents and those above held fixed, the rest drawn (Fig. 12)."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from nvae_core.analysis.image_grid import Pixels, draw_rows
from nvae_core.analysis.report import Picture, check_finite
from nvae_core.config import ScaleTraversal
from nvae_core.model.decoder import Decoder
from nvae_core.sampling.draw import draw_images
from nvae_core.sampling.grids import as_bytes
from nvae_core.sampling.sampler import Sampler
from nvae_core.seeding import Stream, seeded_generator


def show_scales(
    config: ScaleTraversal, sampler: Sampler, *, should_stop: Callable[[], bool]
) -> Picture:
    """Draw one row per number of scales that are held fixed, from none to all of them."""
    groups_per_scale = sampler.manifest.model.num_groups_per_scale
    num_fixed = [sum(groups_per_scale[:scales]) for scales in range(len(groups_per_scale) + 1)]
    rows = [
        as_bytes(
            draw_samples(
                sampler,
                config.num_samples,
                temperature=config.temperature,
                seed=config.seed,
                should_stop=should_stop,
                num_shared_groups=num_groups,
            )
        )
        for num_groups in num_fixed
    ]
    png = draw_rows(
        rows,
        title=f"Scales held fixed, the others drawn again; temperature {config.temperature:g}",
        row_labels=["none", *(f"top {scales}" for scales in range(1, len(rows) - 1)), "all"],
        column_labels=[],
    )
    numbers = [
        {"fixed_scales": scales, "fixed_groups": groups, "pixel_standard_deviation": spread}
        for scales, (groups, spread) in enumerate(
            zip(num_fixed, map(pixel_spread, rows), strict=True)
        )
    ]
    return Picture("scale_traversal", png, {"rows": numbers})


def draw_samples(
    sampler: Sampler,
    num_images: int,
    *,
    temperature: float,
    seed: int,
    should_stop: Callable[[], bool],
    decoder: Decoder | None = None,
    num_shared_groups: int = 0,
) -> Tensor:
    """Return images (N, C, H, W) in [0, 1] by the latents of a seed.

    Without a decoder by the running statistics. Raises as `draw_images` and `check_finite`.
    """
    images = draw_images(
        decoder or sampler.running(),
        num_images,
        temperature=temperature,
        generator=seeded_generator(sampler.device, Stream.LATENTS, seed),
        num_shared_groups=num_shared_groups,
        should_stop=should_stop,
    )
    check_finite(images)
    return images


def pixel_spread(images: Pixels) -> float:
    """Return how much images (N, H, W, C) differ: the mean of their pixels' standard deviations.

    Of pixels in [0, 1].
    """
    return float(images.astype(np.float64).std(axis=0).mean() / 255)
