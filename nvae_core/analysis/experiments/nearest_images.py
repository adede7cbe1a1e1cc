"""Is the model memorizing? Samples beside the images most like them (Fig. 6)."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from nvae_core.analysis.context import Context, Picture, as_model_sees
from nvae_core.analysis.drawing.histogram import HEIGHT, draw_histogram
from nvae_core.analysis.drawing.image_rows import ImageRow, ImageTable, draw_table
from nvae_core.analysis.similarity import Features, Measure, NearestSearch, Neighbours
from nvae_core.config import ModelConfig, NearestImages
from nvae_core.data.prepared import PreparedSplit, read_manifest
from nvae_core.data.streams import Images
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.run_directory import InvalidRunDirectory
from nvae_core.sampling.drawing import draw_images
from nvae_core.sampling.grids import as_bytes
from nvae_core.sampling.sampler import Sampler

BLOCK_IMAGES = 1024  # looked at together: with their distances some 50 MB
MAX_HELD_OUT = 2000  # enough for the shape of a distribution
HELD_OUT = "test"
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class SampleNeighbours:
    """What is nearest to one sample."""

    indices: list[int]
    distances: list[float]
    share_of_held_out_nearer: float | None  # how many held-out images have a nearer one


@dataclass(frozen=True)
class NearestNumbers:
    """Distances of samples, and of images that were not trained on, to the images of a split."""

    samples: list[SampleNeighbours]
    held_out: list[float]  # their nearest distances; none without a test split


def analyze_nearest(config: NearestImages, context: Context, sampler: Sampler) -> Picture:
    """Draw samples, find their neighbours, and set them beside each other.

    Raises:
        InvalidDataset: the images are not of the model's shape, or the split is not there.
        InvalidRunDirectory: the split has fewer images than neighbours are asked for.
        AnalysisStopped: that was asked for.
    """
    model = sampler.manifest.model
    split = context.open_split(config.dataset, config.split, model)
    if config.num_neighbours > len(split.images):
        there = f"the split has {len(split.images)} images"
        raise InvalidRunDirectory(f"num_neighbours: is {config.num_neighbours}, and {there}")
    drawn = draw_images(
        sampler.running(),
        config.num_samples,
        temperature=config.temperature,
        generator=seeded_generator(context.device, Stream.LATENTS, config.seed),
        should_stop=context.should_stop,
    )
    samples = as_bytes(drawn)
    numbers = compare(
        samples,
        split,
        _held_out(config, context, model),
        model=model,
        num_neighbours=config.num_neighbours,
        check_stop=context.check_stop,
    )
    return _draw(config, numbers, samples=samples, split=split, model=model)


def compare(
    samples: Images,
    split: PreparedSplit,
    held_out: Images,
    *,
    model: ModelConfig,
    num_neighbours: int,
    check_stop: Callable[[], None] = lambda: None,
) -> NearestNumbers:
    """Search the split for the images nearest to samples and to held-out images (N, H, W, C)."""
    measure = Measure(model.image_size)
    of_samples = NearestSearch(measure.features(samples), num_neighbours=num_neighbours)
    of_held_out = NearestSearch(measure.features(held_out), num_neighbours=1)
    for features in _blocks(split, measure, model):
        check_stop()
        of_samples.add(features)
        if len(held_out):
            of_held_out.add(features)
    others = measure.distances(of_held_out.result().squared[:, 0]) if len(held_out) else np.empty(0)
    return NearestNumbers(_describe(of_samples.result(), measure, others), others.tolist())


def _held_out(config: NearestImages, context: Context, model: ModelConfig) -> Images:
    """Return images that were not trained on, evenly from the test split, where there is one."""
    none = np.empty((0, model.image_size, model.image_size, model.num_colors), np.uint8)
    if config.split == HELD_OUT:
        return none
    manifest = read_manifest(context.path(config.dataset))
    if HELD_OUT not in manifest.splits:
        return none
    images = context.open_split(config.dataset, HELD_OUT, model).images
    chosen = np.unique(np.linspace(0, len(images) - 1, MAX_HELD_OUT).round().astype(np.int64))
    return as_model_sees(images[chosen], model)


def _blocks(split: PreparedSplit, measure: Measure, model: ModelConfig) -> Iterator[Features]:
    for start in range(0, len(split.images), BLOCK_IMAGES):
        images = split.images[start : start + BLOCK_IMAGES]
        yield measure.features(as_model_sees(images, model))


def _describe(found: Neighbours, measure: Measure, others: Features) -> list[SampleNeighbours]:
    distances = measure.distances(found.squared)
    return [
        SampleNeighbours(
            indices=indices.tolist(),
            distances=own.tolist(),
            share_of_held_out_nearer=float(np.mean(others < own[0])) if len(others) else None,
        )
        for indices, own in zip(found.indices, distances, strict=True)
    ]


def _draw(
    config: NearestImages,
    numbers: NearestNumbers,
    *,
    samples: Images,
    split: PreparedSplit,
    model: ModelConfig,
) -> Picture:
    measure = Measure(model.image_size)
    table = ImageTable(
        title=f"Samples and the images of the {config.split} split nearest to them",
        subtitle=f"temperature {config.temperature:g}, seed {config.seed}; below each image its "
        f"distance: {_describe_measure(measure)}",
        rows=[
            ImageRow(
                label=f"sample {index}",
                images=np.stack(
                    [samples[index], *(as_model_sees(split.images[found.indices], model))]
                ),
                captions=["", *(f"{distance:.3f}" for distance in found.distances)],
            )
            for index, found in enumerate(numbers.samples)
        ],
        headings=["sample", "nearest"],
        num_apart=1,
        room_below=HEIGHT if numbers.held_out else 0,
    )
    canvas, top = draw_table(table)
    nearest = [found.distances[0] for found in numbers.samples]
    if numbers.held_out:
        label = (
            f"Grey: {len(numbers.held_out)} images of the {HELD_OUT} split, which were not trained "
            f"on; orange: the samples"
        )
        draw_histogram(canvas, numbers.held_out, nearest, top=top, label=label)
    return Picture(
        name=config.analysis,
        png=canvas.encode(),
        numbers={
            "measure": {
                "distance": "L2",
                "downsampling": measure.area_size,
                "crop_size": measure.crop_size,
            },
            "samples": [asdict(found) for found in numbers.samples],
            "held_out": _summarize(numbers.held_out),
        },
    )


def _describe_measure(measure: Measure) -> str:
    if measure.crop_size < measure.image_size // measure.area_size * measure.area_size:
        where = f"the central {measure.crop_size}×{measure.crop_size} pixels"
    else:
        where = "the whole image"
    return f"L2 of {where}, down-sampled {measure.area_size}×"


def _summarize(distances: list[float]) -> dict[str, object] | None:
    if not distances:
        return None
    found = np.quantile(distances, QUANTILES)
    return {
        "split": HELD_OUT,
        "num_images": len(distances),
        "quantiles": {f"{q:g}": float(value) for q, value in zip(QUANTILES, found, strict=True)},
    }
