"""Opens every kind of source."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nvae_core.config import BundledSource, DatasetSource
from nvae_core.data.errors import InvalidDataset
from nvae_core.data.sources.arrays import open_arrays
from nvae_core.data.sources.cifar10 import open_cifar10
from nvae_core.data.sources.faces import open_celeba, open_celeba_hq, open_ffhq
from nvae_core.data.sources.image_files import open_image_files
from nvae_core.data.sources.imagenet32 import open_imagenet32
from nvae_core.data.sources.mnist import open_mnist, open_mnist_5k
from nvae_core.data.sources.stream import ImageStream

# By kind; each takes the source, its path, the seed of the split, and the scratch folder.
OPENERS: Mapping[str, Callable[[Any, Path, int, Path], ImageStream]] = {
    "folder": lambda source, path, seed, _: open_image_files(source, path, seed),
    "zip": lambda source, path, seed, _: open_image_files(source, path, seed),
    "array": lambda source, path, seed, _: open_arrays(source, path, seed),
    "mnist": lambda _source, path, _seed, _: open_mnist(path),
    "cifar10": lambda _source, path, _seed, scratch: open_cifar10(path, scratch),
    "imagenet32": lambda _source, path, _seed, scratch: open_imagenet32(path, scratch),
    "celeba": lambda source, path, _seed, _: open_celeba(source, path),
    "celeba_hq": lambda source, path, _seed, _: open_celeba_hq(source, path),
    "ffhq": lambda source, path, _seed, _: open_ffhq(source, path),
}


def open_source(source: DatasetSource, *, seed: int, scratch: Path) -> ImageStream:
    """Look through a source, without reading its images yet.

    Args:
        source: a path in it starts at the current folder.
        seed: of the split, where the source has none.
        scratch: an empty folder for what has to be unpacked; needed as long as the images are.

    Raises:
        InvalidDataset: it is missing, damaged or hostile; the message names the field or the file.
    """
    if isinstance(source, BundledSource):
        return open_mnist_5k()
    if source.is_in_s3:
        raise InvalidDataset("source.path: s3:// is fetched by the service; give a local path")
    return OPENERS[source.kind](source, Path(source.path), seed, scratch)
