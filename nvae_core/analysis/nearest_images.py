"""Is it memorizing? Samples beside the nearest images of a split (Fig. 6)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nvae_core.analysis.drawing.distances import draw_nearest_images
from nvae_core.analysis.drawing.figures import render
from nvae_core.analysis.drawing.image_tables import ImageTable
from nvae_core.analysis.inputs import open_split, reduce_levels
from nvae_core.analysis.nearest import (
    DOWNSAMPLING,
    NearestSearch,
    Neighbours,
    blocks_of,
    compared_region,
    features_of,
)
from nvae_core.analysis.report import Report
from nvae_core.config import ModelConfig, NearestImages
from nvae_core.data.prepared import PreparedSplit, open_prepared
from nvae_core.data.streams import Images
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.model.nvae import count_parameters
from nvae_core.run_directory import InvalidRunDirectory, RunDirectory
from nvae_core.sampling.drawing import SamplingStopped, draw_images
from nvae_core.sampling.grids import as_bytes
from nvae_core.sampling.sampler import Sampler

HELD_OUT_SPLIT = "test"
MAX_HELD_OUT_IMAGES = 1000  # the first ones
REPORT_SECONDS = 2.0
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class Nearest:
    """Neighbours of the samples, and the nearest distance of each held-out image (M,)."""

    of_samples: Neighbours
    of_held_out: np.ndarray[tuple[int], np.dtype[np.float64]]


def make_nearest_images(
    config: NearestImages,
    run: RunDirectory,
    report: Report,
    device: torch.device,
    should_stop: Callable[[], bool],
) -> None:
    """Draw samples, find their neighbours, and judge the distances by those of held-out images."""
    sampler = Sampler.load(run.path / config.checkpoint, device)
    opened = open_split(run.path / config.dataset, config.split, sampler.model.config)
    if sampler.model.config.image_size < DOWNSAMPLING:
        raise InvalidRunDirectory(f"checkpoint: its images have less than {DOWNSAMPLING} pixels")
    held_out = _open_held_out(config, run, opened)
    report.name_checkpoint(config.checkpoint, sampler.manifest)
    report.name_dataset(opened.manifest)
    report.start(len(opened.images), num_parameters=count_parameters(sampler.model))
    samples = as_bytes(
        draw_images(
            sampler.running(),
            config.num_samples,
            temperature=config.temperature,
            generator=seeded_generator(device, Stream.LATENTS, config.seed),
            should_stop=should_stop,
        )
    )
    nearest = find_nearest(
        samples,
        held_out,
        opened.images,
        model=sampler.model.config,
        num_neighbours=config.num_neighbours,
        report=report,
        should_stop=should_stop,
    )
    picture = render(
        draw_nearest_images,
        _tabulate(config, samples, nearest.of_samples, opened, sampler.model.config),
        nearest.of_samples.distances[:, 0].tolist(),
        nearest.of_held_out.tolist(),
        held_out_name=f"held-out images ({HELD_OUT_SPLIT})",
    )
    report.save_picture("nearest_images", picture, _describe(nearest, sampler.model.config))


def find_nearest(
    samples: Images,
    held_out: Images,
    images: Images,
    *,
    model: ModelConfig,
    num_neighbours: int,
    report: Report,
    should_stop: Callable[[], bool],
) -> Nearest:
    """Look at every image once, for the samples and the held-out images.

    Raises:
        SamplingStopped: `should_stop`, asked before each block, said so.
    """
    of_samples = NearestSearch(features_of(samples), num_neighbours)
    of_held_out = NearestSearch(features_of(reduce_levels(held_out, model)), 1)
    started_at = told_at = time.monotonic()
    for first, block in blocks_of(images):
        if should_stop():
            raise SamplingStopped
        features = features_of(reduce_levels(block, model))
        of_samples.add(features, first)
        of_held_out.add(features, first)
        if (now := time.monotonic()) - told_at > REPORT_SECONDS:
            told_at, num_done = now, first + len(block)
            report.progress(num_done, num_done / (now - started_at))
    return Nearest(of_samples.result(), of_held_out.result().distances.reshape(-1))


def _open_held_out(config: NearestImages, run: RunDirectory, opened: PreparedSplit) -> Images:
    if config.split == HELD_OUT_SPLIT or HELD_OUT_SPLIT not in opened.manifest.splits:
        return opened.images[:0]
    return open_prepared(run.path / config.dataset, HELD_OUT_SPLIT).images[:MAX_HELD_OUT_IMAGES]


def _tabulate(
    config: NearestImages,
    samples: Images,
    neighbours: Neighbours,
    opened: PreparedSplit,
    model: ModelConfig,
) -> ImageTable:
    rows, captions = [], []
    for sample, indices, distances in zip(
        samples, neighbours.indices, neighbours.distances, strict=True
    ):
        found = reduce_levels(np.stack([opened.images[index] for index in indices]), model)
        rows.append([sample, *found])
        captions.append(["", *(f"{distance:.2f}" for distance in distances)])
    count = neighbours.indices.shape[1]
    return ImageTable(
        title="Is it memorizing?",
        subtitle=f"Samples (t = {config.temperature:g}) and the nearest images of the split "
        f"{config.split!r}, with their distances.",
        rows=rows,
        row_labels=[""] * len(rows),
        column_labels=["sample", "nearest", *(f"{rank}." for rank in range(2, count + 1))],
        captions=captions,
        wide_gaps=(1,),
    )


def _describe(nearest: Nearest, model: ModelConfig) -> dict[str, Any]:
    region = compared_region(model.image_size)
    numbers: dict[str, Any] = {
        "distance": {
            "downsampling": DOWNSAMPLING,
            "compared_pixels": [region.start, region.stop],  # of rows and of columns
        },
        "samples": [
            {"indices": indices, "distances": distances, "farther_held_out_share": None}
            for indices, distances in zip(
                nearest.of_samples.indices.tolist(),
                nearest.of_samples.distances.tolist(),
                strict=True,
            )
        ],
        "held_out": None,
    }
    held_out = nearest.of_held_out
    if len(held_out):
        for sample in numbers["samples"]:
            sample["farther_held_out_share"] = float((held_out > sample["distances"][0]).mean())
        quantiles = np.quantile(held_out, QUANTILES).tolist()
        numbers["held_out"] = {
            "split": HELD_OUT_SPLIT,
            "num_images": len(held_out),
            "quantiles": {
                f"{share:g}": value for share, value in zip(QUANTILES, quantiles, strict=True)
            },
            "distances": held_out.tolist(),
        }
    return numbers
