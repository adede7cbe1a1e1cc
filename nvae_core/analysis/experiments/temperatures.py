"""Samples at several temperatures, by running and by re-estimated statistics (Fig. 7)."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from torch import Tensor

from nvae_core.analysis.experiments.scales import draw_samples, pixel_spread
from nvae_core.analysis.image_grid import Pixels, choose_magnification, draw_rows
from nvae_core.analysis.report import Picture
from nvae_core.config import TemperatureTableConfig
from nvae_core.run_directory import RunDirectory
from nvae_core.sampling.batch_norm_statistics import (
    StatisticsKey,
    encode_statistics,
    load_batch_norm_statistics,
)
from nvae_core.sampling.grids import arrange_grid, as_bytes, report_sample
from nvae_core.sampling.sampler import Sampler


def show_temperatures(
    config: TemperatureTableConfig,
    run: RunDirectory,
    sampler: Sampler,
    *,
    should_stop: Callable[[], bool],
) -> Picture:
    """Draw the same noise at each temperature, by running and by re-estimated statistics.

    Statistics of `config.statistics` are not estimated again; those that are estimated are left
    among the run's samples.

    Raises:
        InvalidRunDirectory: a file of statistics is damaged, or of another checkpoint.
    """
    kept_statistics = load_batch_norm_statistics(
        run, config.statistics, sampler.model, model_sha256=sampler.model_sha256
    )
    draw = partial(
        draw_samples, sampler, config.num_images, seed=config.seed, should_stop=should_stop
    )
    rows: list[Pixels] = []
    numbers: list[dict[str, object]] = []
    magnification = choose_magnification(sampler.manifest.model.image_size)
    for temperature in config.temperatures:
        key = sampler.key(temperature, config.re_estimation_draws)
        running = draw(temperature=temperature)
        # After those of the running ones, which say whether the model gives anything: statistics
        # that are kept are used again.
        decoder = sampler.re_estimated(
            key,
            statistics=kept_statistics.get(key),
            keep=partial(_report_statistics, run, sampler, key),
            should_stop=should_stop,
        )
        re_estimated = draw(temperature=temperature, decoder=decoder)
        rows.append(
            np.stack([_arrange(images, magnification) for images in (running, re_estimated)])
        )
        spreads = {
            "running": pixel_spread(as_bytes(running)),
            "re-estimate": pixel_spread(as_bytes(re_estimated)),
        }
        numbers.append({"temperature": temperature, "pixel_standard_deviation": spreads})
    png = draw_rows(
        rows,
        title="Samples by temperature and batch-norm statistics",
        row_labels=[f"temperature {value:g}" for value in config.temperatures],
        column_labels=["running", f"re-estimated by {config.re_estimation_draws} draws"],
        magnification=1,
    )
    return Picture("temperature_table", png, {"rows": numbers})


def _report_statistics(
    run: RunDirectory, sampler: Sampler, key: StatisticsKey, statistics: Mapping[str, Tensor]
) -> None:
    content = encode_statistics(statistics, key)
    step = sampler.manifest.step
    report_sample(run, key.file_name, content, "application/octet-stream", step=step)


def _arrange(images: Tensor, magnification: int) -> Pixels:
    """Return a grid of images that are magnified before, so that lines between them are thin."""
    return arrange_grid(
        images.repeat_interleave(magnification, 2).repeat_interleave(magnification, 3)
    )
