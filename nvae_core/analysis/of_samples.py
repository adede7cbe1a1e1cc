"""Experiments on samples of a checkpoint: temperatures and scales (Fig. 7 and 12)."""

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
from torch import Tensor

from nvae_core.analysis.image_rows import Pixels, choose_magnification, draw_rows
from nvae_core.analysis.model_output import check_finite, to_pixels
from nvae_core.analysis.pictures import Picture
from nvae_core.config import ScaleTraversal, TemperatureTable
from nvae_core.inference.network import FoldedDecoder
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.sampling.batch_norm_statistics import StatisticsKey, encode_statistics
from nvae_core.sampling.draw import draw_images
from nvae_core.sampling.grids import arrange_grid, as_bytes
from nvae_core.sampling.sampler import Sampler

Keep = Callable[[str, bytes], None]
ShouldStop = Callable[[], bool]
STATISTICS = ("running", "re-estimate")


def tabulate_temperatures(
    config: TemperatureTable,
    sampler: Sampler,
    *,
    given: Mapping[StatisticsKey, Mapping[str, Tensor]],
    keep: Keep,
    should_stop: ShouldStop,
) -> Picture:
    """Draw the same noise at each temperature, by running and by re-estimated statistics.

    `given` are statistics that were estimated before; `keep` is called with the name and the
    content of each file of those that had to be estimated.
    """
    rows: list[Pixels] = []
    spreads: list[list[float]] = []
    magnification = choose_magnification(sampler.manifest.model.image_size)
    for temperature in config.temperatures:
        key = sampler.key(temperature, config.re_estimation_draws)
        drawn = [_draw(config, sampler, sampler.running(), temperature, should_stop)]
        # After those of the running ones, which say whether the model gives anything: statistics
        # that are kept are used again.
        estimated = sampler.re_estimated(
            key, statistics=given.get(key), keep=_keeper(key, keep), should_stop=should_stop
        )
        drawn.append(_draw(config, sampler, estimated, temperature, should_stop))
        rows.append(np.stack([_arrange(images, magnification) for images in drawn]))
        spreads.append([pixel_spread(as_bytes(images)) for images in drawn])
    png = draw_rows(
        rows,
        title="Samples by temperature and batch-norm statistics",
        row_labels=[f"temperature {value:g}" for value in config.temperatures],
        column_labels=["running", f"re-estimated by {config.re_estimation_draws} draws"],
        magnification=1,
    )
    numbers = {
        "rows": [
            {
                "temperature": temperature,
                "pixel_standard_deviation": dict(zip(STATISTICS, spread, strict=True)),
            }
            for temperature, spread in zip(config.temperatures, spreads, strict=True)
        ]
    }
    return Picture("temperature_table", png, cast(dict[str, object], numbers))


def _draw(
    config: TemperatureTable,
    sampler: Sampler,
    decoder: FoldedDecoder,
    temperature: float,
    should_stop: ShouldStop,
) -> Tensor:
    images = draw_images(
        decoder,
        config.num_images,
        temperature=temperature,
        generator=seeded_generator(sampler.device, Stream.LATENTS, config.seed),
        should_stop=should_stop,
    )
    check_finite(images)
    return images


def _arrange(images: Tensor, magnification: int) -> Pixels:
    """Return a grid of images that are magnified before, so that lines between them are thin."""
    return arrange_grid(
        images.repeat_interleave(magnification, 2).repeat_interleave(magnification, 3)
    )


def _keeper(key: StatisticsKey, keep: Keep) -> Callable[[dict[str, Tensor]], None]:
    return lambda statistics: keep(key.file_name, encode_statistics(statistics, key))


def traverse_scales(
    config: ScaleTraversal, sampler: Sampler, *, should_stop: ShouldStop
) -> Picture:
    """Draw one row per number of scales that are held fixed, from none to all of them."""
    decoder: FoldedDecoder = sampler.running()
    groups_per_scale = sampler.manifest.model.num_groups_per_scale
    num_fixed = [sum(groups_per_scale[:scales]) for scales in range(len(groups_per_scale) + 1)]
    rows = [
        to_pixels(
            draw_images(
                decoder,
                config.num_samples,
                temperature=config.temperature,
                generator=seeded_generator(sampler.device, Stream.LATENTS, config.seed),
                num_shared_groups=num_groups,
                should_stop=should_stop,
            )
        )
        for num_groups in num_fixed
    ]
    spreads = [pixel_spread(row) for row in rows]
    labels = ["none", *(f"top {scales}" for scales in range(1, len(rows) - 1)), "all"]
    png = draw_rows(
        rows,
        title=f"Scales held fixed, the others drawn again; temperature {config.temperature:g}",
        row_labels=labels,
        column_labels=[],
    )
    numbers = {
        "rows": [
            {"fixed_scales": scales, "fixed_groups": groups, "pixel_standard_deviation": spread}
            for scales, (groups, spread) in enumerate(zip(num_fixed, spreads, strict=True))
        ]
    }
    return Picture("scale_traversal", png, cast(dict[str, object], numbers))


def pixel_spread(images: Pixels) -> float:
    """Return how much images (N, H, W, C) differ: the mean of their pixels' standard deviations.

    Of pixels in [0, 1].
    """
    return float(images.astype(np.float64).std(axis=0).mean() / 255)
