"""Analyses of samples alone: temperatures and batch norm (Fig. 7), fixed scales (Fig. 12)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from nvae_core.analysis.drawing.figures import render
from nvae_core.analysis.drawing.image_tables import ImageTable, draw_image_table
from nvae_core.analysis.report import Report
from nvae_core.config import ScaleTraversal, TemperatureTable
from nvae_core.data.streams import Images
from nvae_core.inference.network import FoldedDecoder
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.model.nvae import count_parameters
from nvae_core.run_directory import RunDirectory
from nvae_core.sampling.drawing import draw_images
from nvae_core.sampling.grids import as_bytes
from nvae_core.sampling.run import num_groups_of, read_given
from nvae_core.sampling.sampler import Sampler
from nvae_core.sampling.statistics import encode_statistics


def make_temperature_table(
    config: TemperatureTable,
    run: RunDirectory,
    report: Report,
    device: torch.device,
    should_stop: Callable[[], bool],
) -> None:
    """Draw the same noise at each temperature, with running and with re-estimated statistics."""
    sampler = Sampler.load(run.path / config.checkpoint, device)
    given = read_given(run, config.statistics, sampler)
    report.name_checkpoint(config.checkpoint, sampler.manifest)
    num_images = 2 * config.num_images * len(config.temperatures)
    report.start(num_images, num_parameters=count_parameters(sampler.model))

    def draw(decoder: FoldedDecoder, temperature: float) -> Images:
        generator = seeded_generator(device, Stream.LATENTS, config.seed)
        images = draw_images(
            decoder,
            config.num_images,
            temperature=temperature,
            generator=generator,
            should_stop=should_stop,
        )
        return as_bytes(images)

    def re_estimate(temperature: float) -> FoldedDecoder:
        key = sampler.key(temperature, config.re_estimation_draws)

        def keep(statistics: dict[str, Tensor]) -> None:
            report.save_statistics(key.file_name, encode_statistics(statistics, key))

        return sampler.re_estimated(key, given=given.get(key), keep=keep, should_stop=should_stop)

    rows = [
        (draw(sampler.running(), temperature), draw(re_estimate(temperature), temperature))
        for temperature in config.temperatures
    ]
    numbers = {
        "columns": ["running", "re-estimated"],
        "rows": [
            {"temperature": temperature, "diversity": [*map(diversity, row)]}
            for temperature, row in zip(config.temperatures, rows, strict=True)
        ],
    }
    picture = render(draw_image_table, _temperature_table(config, rows))
    report.save_picture("temperature_table", picture, numbers)


def make_scale_traversal(
    config: ScaleTraversal,
    run: RunDirectory,
    report: Report,
    device: torch.device,
    should_stop: Callable[[], bool],
) -> None:
    """Draw a row for each number of top scales that are held fixed."""
    sampler = Sampler.load(run.path / config.checkpoint, device)
    num_scales = len(sampler.model.config.num_groups_per_scale)
    fixed_scales = config.fixed_scales or tuple(range(num_scales))
    fixed_groups = [num_groups_of(sampler, scales) for scales in fixed_scales]
    report.name_checkpoint(config.checkpoint, sampler.manifest)
    num_images = len(fixed_groups) * config.num_samples
    report.start(num_images, num_parameters=count_parameters(sampler.model))
    rows = [
        as_bytes(
            draw_images(
                sampler.running(),
                config.num_samples,
                temperature=config.temperature,
                generator=seeded_generator(device, Stream.LATENTS, config.seed),
                num_shared_groups=groups,
                should_stop=should_stop,
            )
        )
        for groups in fixed_groups
    ]
    resolutions = [group.resolution for group in sampler.model.hierarchy.groups]
    table = ImageTable(
        title="What the scales decide",
        subtitle="In each row the latents of the top scales are those of the first sample, and "
        f"those below are drawn. Temperature {config.temperature:g}.",
        rows=[list(row) for row in rows],
        row_labels=[_describe_fixed(resolutions[:groups]) for groups in fixed_groups],
    )
    numbers = {
        "rows": [
            {"fixed_scales": scales, "fixed_groups": groups, "diversity": diversity(row)}
            for scales, groups, row in zip(fixed_scales, fixed_groups, rows, strict=True)
        ]
    }
    report.save_picture("scale_traversal", render(draw_image_table, table), numbers)


def _temperature_table(
    config: TemperatureTable, rows: Sequence[tuple[Images, Images]]
) -> ImageTable:
    return ImageTable(
        title="Temperature and batch norm",
        subtitle="All rows have the same noise. Batch norm has the running statistics of training, "
        f"or those re-estimated by {config.re_estimation_draws} draws at the temperature.",
        rows=[[*running, *re_estimated] for running, re_estimated in rows],
        row_labels=[f"t = {temperature:g}" for temperature in config.temperatures],
        block_labels=("running statistics", "re-estimated statistics"),
        wide_gaps=(config.num_images,),
    )


def diversity(pixels: Images) -> float:
    """Return how much images (N, H, W, C) differ: the mean over the pixels of their deviation.

    The deviation is the standard deviation over the images, of pixels in [0, 1].
    """
    return float(np.std(pixels / 255.0, axis=0).mean())


def _describe_fixed(resolutions: Sequence[int]) -> str:
    """Name the groups that are held fixed by the height and width of their latents."""
    if not resolutions:
        return "all drawn"
    first, last = (f"{resolution}×{resolution}" for resolution in (resolutions[0], resolutions[-1]))
    return f"{first} fixed" if first == last else f"{first} to {last} fixed"
