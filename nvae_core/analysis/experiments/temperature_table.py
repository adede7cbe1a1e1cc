"""Samples by temperature, with both kinds of batch-norm statistics (Fig. 7)."""

from dataclasses import asdict, dataclass

import numpy as np

from nvae_core.analysis.context import Context, Picture
from nvae_core.analysis.drawing.image_rows import ImageRow, ImageTable, draw_table
from nvae_core.analysis.spread import pixel_spread
from nvae_core.config import TemperatureTableConfig
from nvae_core.data.streams import Images
from nvae_core.inference.network import FoldedDecoder
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.sampling.drawing import draw_images
from nvae_core.sampling.given import read_given
from nvae_core.sampling.grids import arrange_grid, report_sample
from nvae_core.sampling.sampler import Sampler
from nvae_core.sampling.statistics import encode_statistics

GRID_PIXELS = 470  # about how wide and high one cell of the table is
HEADINGS = ("running statistics of training", "statistics re-estimated at the temperature")


@dataclass(frozen=True)
class Cell:
    """One temperature with one kind of statistics."""

    temperature: float
    batch_norm: str
    pixel_spread: float  # how much the images differ


def analyze_temperatures(
    config: TemperatureTableConfig, context: Context, sampler: Sampler
) -> Picture:
    """Draw the same latents at each temperature with each kind of statistics.

    Raises:
        InvalidRunDirectory: statistics that were given are of another checkpoint.
        SamplingStopped: that was asked for.
    """
    given = read_given(context.run, config.statistics, sampler)
    cells: list[Cell] = []
    rows: list[ImageRow] = []
    for temperature in config.temperatures:
        key = sampler.key(temperature, config.re_estimation_draws)
        re_estimated = sampler.re_estimated(
            key,
            given=given.get(key),
            keep=lambda statistics, key=key: report_sample(  # type: ignore[misc]
                context.run,
                key.file_name,
                encode_statistics(statistics, key),
                "application/octet-stream",
                step=sampler.manifest.step,
            ),
            should_stop=context.should_stop,
        )
        decoders = {"running": sampler.running(), "re-estimate": re_estimated}
        grids: list[Images] = []
        for name, decoder in decoders.items():
            grid, cell = _fill(config, context, decoder, temperature=temperature, name=name)
            grids.append(grid)
            cells.append(cell)
        captions = [f"the images differ by {cell.pixel_spread:.4f}" for cell in cells[-2:]]
        label = f"temperature {temperature:g}"
        rows.append(ImageRow(label, np.stack(grids), captions, is_last_of_block=True))
    table = ImageTable(
        title="Samples by temperature and batch-norm statistics",
        subtitle=f"the same latents in all grids, seed {config.seed}; "
        f"statistics re-estimated by {config.re_estimation_draws} draws;\nbelow each "
        "grid the mean over its pixels of the standard deviation over its images",
        rows=rows,
        headings=HEADINGS,
        num_apart=1,
        cell_pixels=GRID_PIXELS,
    )
    canvas, _ = draw_table(table)
    numbers: dict[str, object] = {"cells": [asdict(cell) for cell in cells]}
    return Picture(config.analysis, canvas.encode(), numbers)


def _fill(
    config: TemperatureTableConfig,
    context: Context,
    decoder: FoldedDecoder,
    *,
    temperature: float,
    name: str,
) -> tuple[Images, Cell]:
    images = draw_images(
        decoder,
        config.num_images,
        temperature=temperature,
        generator=seeded_generator(context.device, Stream.LATENTS, config.seed),
        should_stop=context.should_stop,
    )
    return arrange_grid(images), Cell(temperature, name, pixel_spread(images))
