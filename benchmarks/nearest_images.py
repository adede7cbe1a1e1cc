"""How long the exact nearest images take to find: `python -m benchmarks.nearest_images`.

160 000 images of 64 × 64 × 3 random pixels are written to a file, and the nearest six of each
sample looked for over its memory map, as an analysis does. The ceiling reads the same file block
by block and takes a sum of it, in turn.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nvae_core.analysis.experiments.neighbours import BLOCK_BYTES, Pixels, find_nearest

SHAPE = (64, 64, 3)
NUM_NEIGHBOURS = 6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=160_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images"
        write_images(path, arguments.images, generator)
        images = np.memmap(path, np.uint8, "r", shape=(arguments.images, *SHAPE))
        for num_queries in (8, 64):
            queries = generator.integers(0, 256, (num_queries, *SHAPE), np.uint8)
            tell(queries, images, arguments.rounds)


def tell(queries: Pixels, images: Pixels, num_rounds: int) -> None:
    """Measure in turn and print."""
    searches, readings = [], []
    for _ in range(num_rounds):
        readings.append(seconds(lambda: read_all(images)))
        searches.append(seconds(lambda: find_nearest(queries, images, NUM_NEIGHBOURS)))
    search, reading = statistics.median(searches), statistics.median(readings)
    print(
        f"{len(queries)} samples among {len(images)} images: {search:.1f} s; reading alone "
        f"{reading:.1f} s, {search / reading:.1f} times that"
    )


def write_images(path: Path, count: int, generator: np.random.Generator) -> None:
    """Write images of random pixels, some at a time."""
    with path.open("wb") as file:
        for start in range(0, count, 4096):
            size = min(4096, count - start)
            file.write(generator.integers(0, 256, (size, *SHAPE), np.uint8).tobytes())


def read_all(images: Pixels) -> int:
    """Return the sum of all pixels."""
    step = max(1, BLOCK_BYTES // images[0].nbytes)
    blocks = range(0, len(images), step)
    return sum(int(images[start : start + step].sum(dtype=np.int64)) for start in blocks)


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    began_at = time.perf_counter()
    work()
    return time.perf_counter() - began_at


if __name__ == "__main__":
    main()
