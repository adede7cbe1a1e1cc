"""Analyses of images of a split: reconstructions, and interpolations between two of them."""

from collections.abc import Callable

import numpy as np
import torch

from nvae_core.analysis.drawing.figures import render
from nvae_core.analysis.drawing.image_tables import ImageTable, draw_image_table
from nvae_core.analysis.inputs import as_input, input_pixels, open_split, take_images
from nvae_core.analysis.posteriors import interpolate, reconstruct
from nvae_core.analysis.report import Report
from nvae_core.checkpoint import load_model
from nvae_core.config import Interpolations, Reconstructions
from nvae_core.data.streams import Images
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.model.nvae import count_parameters
from nvae_core.run_directory import RunDirectory
from nvae_core.sampling.drawing import SamplingStopped
from nvae_core.sampling.grids import as_bytes

BATCH_SIZE = 8
IMAGES_PER_ROW = 8


def make_reconstructions(
    config: Reconstructions,
    run: RunDirectory,
    report: Report,
    device: torch.device,
    should_stop: Callable[[], bool],
) -> None:
    """Reconstruct images of a split."""
    model, manifest = load_model(run.path / config.checkpoint, device)
    opened = open_split(run.path / config.dataset, config.split, model.config)
    num_images = min(config.num_images, len(opened.images))
    indices = config.indices or tuple(range(num_images))
    images = take_images(opened, indices, field="indices")
    report.name_checkpoint(config.checkpoint, manifest)
    report.name_dataset(opened.manifest)
    report.start(len(indices), num_parameters=count_parameters(model))
    inputs = as_input(images, model.config, seed=config.seed, device=device)
    generator = seeded_generator(device, Stream.LATENTS, config.seed)
    drawn: list[Images] = []
    losses: list[float] = []
    for x in torch.split(inputs, BATCH_SIZE):
        if should_stop():
            raise SamplingStopped
        found = reconstruct(model, x, None if config.latents == "mean" else generator)
        drawn.append(as_bytes(found.image.mean()))
        losses += (-found.log_prob(x)).tolist()
    given = input_pixels(inputs, model.config)
    table = _pair_rows(config, given, np.concatenate(drawn))
    numbers = {"indices": list(indices), "reconstruction_losses": losses}
    report.save_picture("reconstructions", render(draw_image_table, table), numbers)


def make_interpolations(
    config: Interpolations,
    run: RunDirectory,
    report: Report,
    device: torch.device,
    should_stop: Callable[[], bool],
) -> None:
    """Go from one image to another, for each pair."""
    model, manifest = load_model(run.path / config.checkpoint, device)
    opened = open_split(run.path / config.dataset, config.split, model.config)
    images = [
        take_images(opened, pair, field=f"pairs.{index}") for index, pair in enumerate(config.pairs)
    ]
    report.name_checkpoint(config.checkpoint, manifest)
    report.name_dataset(opened.manifest)
    report.start(len(images) * config.num_steps, num_parameters=count_parameters(model))
    inputs = as_input(np.concatenate(images), model.config, seed=config.seed, device=device)
    rows: list[list[Images]] = []
    for x in torch.split(inputs, 2):
        if should_stop():
            raise SamplingStopped
        first, last = input_pixels(x, model.config)
        rows.append([first, *as_bytes(interpolate(model, x, config.num_steps)), last])
    table = ImageTable(
        title="Between two images",
        subtitle=f"Images of the split {config.split!r} at both ends; between them the latents "
        "of their posterior means, mixed linearly.",
        rows=rows,
        row_labels=[f"{first} → {last}" for first, last in config.pairs],
        column_labels=[
            "image",
            *(f"{share:.2g}" for share in np.linspace(0, 1, config.num_steps)),
            "image",
        ],
        wide_gaps=(1, config.num_steps + 1),
    )
    numbers = {"pairs": config.pairs, "latents": "posterior means, linear in each group"}
    report.save_picture("interpolations", render(draw_image_table, table), numbers)


def _pair_rows(config: Reconstructions, given: Images, reconstructed: Images) -> ImageTable:
    rows: list[list[Images]] = []
    for start in range(0, len(given), IMAGES_PER_ROW):
        stop = start + IMAGES_PER_ROW
        rows += [[*given[start:stop]], [*reconstructed[start:stop]]]
    latents = "means of the posterior" if config.latents == "mean" else "a sample of the posterior"
    return ImageTable(
        title="Reconstructions",
        subtitle=f"Images of the split {config.split!r} as the model gets them, and below "
        f"each its reconstruction from {latents}.",
        rows=rows,
        row_labels=["image", "reconstruction"] * (len(rows) // 2),
    )
