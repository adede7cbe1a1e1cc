"""Preparing 10 000 PNG of 64x64, and drawing batches from them, each beside a bare ceiling.

`python -m benchmarks.data_preparation [--images N] [--large-gib G]`; everything lies in a temporary
folder. The last part draws batches from a data set that is larger than the memory it may take.
"""

import argparse
import io
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from nvae_core.config import FolderSource, ModelConfig, PrepareDatasetConfig
from nvae_core.data.dataset import open_prepared
from nvae_core.data.order import order_for_training
from nvae_core.data.prepare import prepare_dataset, write_prepared
from nvae_core.data.preprocess import to_model_input
from nvae_core.data.sources.stream import ImageStream, SplitStream
from nvae_core.run_directory import RunDirectory

SIDE = 64
BATCH_SIZE = 64
NUM_BATCHES = 140  # less than an epoch
NUM_ROUNDS = 3
LIMIT_BYTES = 2**30
MODEL = ModelConfig(
    image_size=SIDE,
    num_colors=3,
    bit_depth=5,
    image_distribution="logistic_mixture",
    num_groups_per_scale=(1,),
)


def main() -> None:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--large-gib", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "images", arguments.images)
        measure_preparation(folder, arguments.images)
        measure_loading(folder / "run" / "dataset")
        draw_from_large(folder, arguments.large_gib * 2**30)


def write_images(folder: Path, count: int) -> None:
    """Write images of smooth colours with some noise: they compress as photographs do."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 256, (6, 6, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        noise = generator.normal(0, 4, (SIDE, SIDE, 3))
        pixels = np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06}.png")


@dataclass(frozen=True)
class Cost:
    """Seconds of one run, and of all processors together; these depend less on other load."""

    seconds: float
    processor_seconds: float


def measure_preparation(folder: Path, count: int) -> None:
    """Prepare the images, in turn with decoding them and doing nothing else."""
    num_cores = len(os.sched_getaffinity(0))
    bare, ours = [], []
    for _ in range(NUM_ROUNDS):
        bare.append(decode_bare(folder / "images", num_cores))
        ours.append(prepare(folder))
    for name, costs in ((f"bare decoding in {num_cores} processes", bare), ("preparing", ours)):
        seconds = statistics.median(cost.seconds for cost in costs)
        processor_seconds = statistics.median(cost.processor_seconds for cost in costs)
        print(
            f"{name}: {seconds:.2f} s, {count / seconds:.0f} images per second; "
            f"{1e6 * processor_seconds / count:.0f} microseconds of a processor per image"
        )


def decode_bare(folder: Path, num_processes: int) -> Cost:
    """Measure processes that run already, decode, and forget the pixels."""
    paths = sorted(folder.iterdir())
    parts = [paths[start::num_processes] for start in range(num_processes)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context) as processes:
        list(processes.map(_decode, [part[:1] for part in parts]))
        start = time.perf_counter()
        processor_seconds = sum(processes.map(_decode, parts))
        return Cost(time.perf_counter() - start, processor_seconds)


def _decode(paths: list[Path]) -> float:
    start = time.process_time()
    for path in paths:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            np.asarray(image.convert("RGB"))
    return time.process_time() - start


def prepare(folder: Path) -> Cost:
    """Measure a preparation with all that belongs to it: it starts its processes itself."""
    run = folder / "run"
    run.mkdir(exist_ok=True)
    source = FolderSource(path=str(folder / "images"), image_size=SIDE)
    before, start = _processor_seconds(), time.perf_counter()
    prepare_dataset(PrepareDatasetConfig(source=source), RunDirectory(run))
    return Cost(time.perf_counter() - start, _processor_seconds() - before)


def _processor_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure_loading(dataset: Path) -> None:
    """Draw batches in the order of training, in turn with bare copies of a slice."""
    images = open_prepared(dataset, "train").images
    order = order_for_training(len(images), batch_size=BATCH_SIZE, world_size=1, seed=0)
    generator = torch.Generator()

    def copy_slice(step: int) -> object:
        return images[step * BATCH_SIZE : (step + 1) * BATCH_SIZE].copy()

    def gather(step: int) -> object:
        return images[order.global_batch(step)]

    def load(step: int) -> object:
        return to_model_input(gather(step), MODEL, generator, flip=True)  # type: ignore[arg-type]

    print(f"for a batch of {BATCH_SIZE}, in microseconds, on one thread:")
    for name, work in (
        ("bare copy of a slice", copy_slice),
        ("images of the order", gather),
        ("the same with flips and 5 bits, as floats", load),
    ):
        print(f"  {name}: {1e6 * statistics.median(_times(work)):.0f}")


def _times(work: Callable[[int], object]) -> Iterator[float]:
    for step in range(NUM_BATCHES):
        start = time.perf_counter()
        work(step)
        yield time.perf_counter() - start


def draw_from_large(folder: Path, num_bytes: int) -> None:
    """Prepare and read a data set in a process that may take little memory of its own."""
    process = multiprocessing.get_context("spawn").Process(
        target=_draw_within_limit, args=(folder / "large", num_bytes)
    )
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("the large data set did not fit the memory")
    sizes = f"{num_bytes / 2**30:.0f} GiB", f"{LIMIT_BYTES / 2**30:.0f} GiB"
    print("{} prepared, checked and drawn from by a process with {} of memory".format(*sizes))


def _draw_within_limit(folder: Path, num_bytes: int) -> None:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
    num_images = num_bytes // (SIDE * SIDE * 3)
    source = FolderSource(path="large", image_size=SIDE)
    write_prepared(folder, _zeros(num_images), source)
    images = open_prepared(folder, "train").images
    order = order_for_training(num_images, batch_size=BATCH_SIZE, world_size=1, seed=0)
    for step in range(NUM_BATCHES):
        to_model_input(images[order.global_batch(step)], MODEL, torch.Generator(), flip=True)


def _zeros(num_images: int) -> ImageStream:
    batch: npt.NDArray[np.uint8] = np.zeros((BATCH_SIZE, SIDE, SIDE, 3), np.uint8)

    def read() -> Iterator[npt.NDArray[np.uint8]]:
        for start in range(0, num_images, BATCH_SIZE):
            yield batch[: num_images - start]

    splits = {"train": SplitStream(num_images, read)}
    return ImageStream(height=SIDE, width=SIDE, num_colors=3, splits=splits, licence="none")  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
