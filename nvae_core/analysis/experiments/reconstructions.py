"""Images above what the model makes of their latents."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nvae_core.analysis.context import Context, Picture, take_images
from nvae_core.analysis.drawing.image_rows import ImageRow, ImageTable, draw_table
from nvae_core.analysis.posterior import Reconstructed, reconstruct, without_padding
from nvae_core.config import Reconstructions
from nvae_core.data.pixels import to_model_input
from nvae_core.model.noise import Noise, Stream, seeded_generator
from nvae_core.sampling.grids import as_bytes
from nvae_core.sampling.sampler import Sampler

NUM_COLUMNS = 8


def analyze_reconstructions(config: Reconstructions, context: Context, sampler: Sampler) -> Picture:
    """Reconstruct images of a split.

    Raises:
        InvalidDataset: the images are not of the model's shape, or the split is not there.
        InvalidRunDirectory: an index is beyond the split.
    """
    model = sampler.model
    split = context.open_split(config.dataset, config.split, model.config)
    chosen = take_images(split, config.indices, field="indices")
    # On the CPU, as in an evaluation: the binarization is the same on every device.
    pixels = seeded_generator(torch.device("cpu"), Stream.PIXELS, config.seed)
    x = to_model_input(chosen, model.config, pixels).to(context.device)
    found = reconstruct(model, x, _noise(config, context, model.noise_shapes(len(x))))
    canvas, _ = draw_table(_table(config, without_padding(x, model), found))
    return Picture(config.analysis, canvas.encode(), {"images": _describe(config.indices, found)})


def _noise(config: Reconstructions, context: Context, shapes: list[tuple[int, ...]]) -> Noise:
    if config.posterior == "mean":
        return [torch.zeros(shape, device=context.device) for shape in shapes]
    return seeded_generator(context.device, Stream.LATENTS, config.seed)


def _table(config: Reconstructions, x: Tensor, found: Reconstructed) -> ImageTable:
    originals, images, rows = as_bytes(x), as_bytes(found.images), []
    bits = found.bits_per_dim().tolist()
    for start in range(0, len(originals), NUM_COLUMNS):
        block = slice(start, start + NUM_COLUMNS)
        indices = [f"#{index}" for index in config.indices[block]]
        rows.append(ImageRow("image", originals[block], captions=indices))
        captions = [f"{value:.3f} bits/dim" for value in bits[block]]
        rows.append(ImageRow("reconstruction", images[block], captions, is_last_of_block=True))
    source = "one sample" if config.posterior == "sample" else "the means"
    return ImageTable(
        title=f"Images of the {config.split} split and their reconstructions",
        subtitle=f"from {source} of the posterior, seed {config.seed}; below each the negative "
        "ELBO of that sample",
        rows=rows,
    )


def _describe(indices: Sequence[int], found: Reconstructed) -> list[dict[str, float]]:
    columns = (found.reconstruction_loss, found.kl, found.bits_per_dim())
    values = zip(indices, *(column.tolist() for column in columns), strict=True)
    names = ("index", "reconstruction_loss", "kl", "bits_per_dim")
    return [dict(zip(names, row, strict=True)) for row in values]
