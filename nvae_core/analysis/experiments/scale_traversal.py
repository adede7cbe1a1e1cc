"""What is decided at which scale? Samples that share the latents of their top scales (Fig. 12)."""

from dataclasses import asdict, dataclass

from nvae_core.analysis.context import Context, Picture
from nvae_core.analysis.drawing.image_rows import ImageRow, ImageTable, draw_table
from nvae_core.analysis.spread import pixel_spread
from nvae_core.config import ScaleTraversal
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.run_directory import InvalidRunDirectory
from nvae_core.sampling.drawing import draw_images
from nvae_core.sampling.grids import as_bytes
from nvae_core.sampling.sampler import Sampler


@dataclass(frozen=True)
class TraversalRow:
    """One number of scales that all samples share."""

    fixed_scales: int
    fixed_groups: int
    pixel_spread: float  # how much the images still differ


def analyze_scales(config: ScaleTraversal, context: Context, sampler: Sampler) -> Picture:
    """Draw a row of samples for each number of top scales.

    The first image is the same in all rows; others have its latents in the shared scales and their
    own below.

    Raises:
        InvalidRunDirectory: the model has not so many scales.
        SamplingStopped: that was asked for.
    """
    groups_per_scale = sampler.manifest.model.num_groups_per_scale
    num_scales = len(groups_per_scale)
    chosen = config.fixed_scales or tuple(range(num_scales))
    if max(chosen) > num_scales:
        message = f"fixed_scales: is {max(chosen)}, and the model has {num_scales}"
        raise InvalidRunDirectory(message)
    numbers: list[TraversalRow] = []
    rows: list[ImageRow] = []
    for fixed in chosen:
        num_groups = sum(groups_per_scale[:fixed])
        images = draw_images(
            sampler.running(),
            config.num_samples,
            temperature=config.temperature,
            generator=seeded_generator(context.device, Stream.LATENTS, config.seed),
            num_shared_groups=num_groups,
            should_stop=context.should_stop,
        )
        numbers.append(TraversalRow(fixed, num_groups, pixel_spread(images)))
        label = f"{fixed} of {num_scales} scales fixed\n({num_groups} groups)"
        label += f"\ndiffer by {numbers[-1].pixel_spread:.4f}"
        rows.append(ImageRow(label, as_bytes(images)))
    table = ImageTable(
        title="Samples that share the latents of their top scales",
        subtitle=f"temperature {config.temperature:g}, seed {config.seed}; the scales below are "
        "drawn anew for every image. How much a row differs:\nthe mean over its pixels of the "
        "standard deviation over its images",
        rows=rows,
    )
    canvas, _ = draw_table(table)
    return Picture(
        config.analysis, canvas.encode(), {"rows": [asdict(number) for number in numbers]}
    )
