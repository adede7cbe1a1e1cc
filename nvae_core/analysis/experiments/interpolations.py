"""Images on the way between two images of a split."""

from itertools import chain

import torch

from nvae_core.analysis.context import Context, Picture, take_images
from nvae_core.analysis.drawing.image_rows import ImageRow, ImageTable, draw_table
from nvae_core.analysis.posterior import (
    Interpolated,
    interpolate,
    posterior_means,
    without_padding,
)
from nvae_core.config import Interpolations
from nvae_core.data.pixels import to_model_input
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.sampling.grids import as_bytes
from nvae_core.sampling.sampler import Sampler


def analyze_interpolations(config: Interpolations, context: Context, sampler: Sampler) -> Picture:
    """Go from one image to the other in a straight line between their latents.

    Raises:
        InvalidDataset: the images are not of the model's shape, or the split is not there.
        InvalidRunDirectory: an index is beyond the split.
        AnalysisStopped: that was asked for.
    """
    model = sampler.model
    split = context.open_split(config.dataset, config.split, model.config)
    chosen = take_images(split, list(chain.from_iterable(config.pairs)), field="pairs")
    pixels = seeded_generator(torch.device("cpu"), Stream.PIXELS, config.seed)
    ends = to_model_input(chosen, model.config, pixels).to(context.device)
    found: list[Interpolated] = []
    rows: list[ImageRow] = []
    for index, (first, second) in enumerate(config.pairs):
        context.check_stop()
        pair = ends[2 * index : 2 * index + 2]
        latents = posterior_means(model, pair)
        found.append(interpolate(model, latents, num_steps=config.num_steps))
        shown = without_padding(pair, model)
        way = torch.cat([shown[:1], found[-1].images, shown[1:]])
        rows.append(ImageRow(f"#{first} to #{second}", as_bytes(way)))
    table = ImageTable(
        title=f"Between images of the {config.split} split",
        subtitle="straight lines between the latents at the posterior's means; the outermost "
        "columns are the images",
        rows=rows,
        headings=_headings(config.num_steps),
        num_apart=1,
        num_apart_at_end=1,
    )
    canvas, _ = draw_table(table)
    ways = [
        {"pair": pair, "log_prior": one.log_prior.tolist()}
        for pair, one in zip(config.pairs, found, strict=True)
    ]
    return Picture(config.analysis, canvas.encode(), {"interpolations": ways})


def _headings(num_steps: int) -> list[str]:
    """Return the weight of the second image's latents in each column."""
    weights = [f"{step / (num_steps - 1):.2f}".rstrip("0").rstrip(".") for step in range(num_steps)]
    return ["image", *weights, "image"]
