"""Images of a folder or zip archive of image files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from nvae_core.config import FolderSource, ZipSource
from nvae_core.data.archives import FolderFiles, list_zip
from nvae_core.data.dataset import SPLITS, Images, SplitName
from nvae_core.data.decoding.image import SUFFIXES, DecodePlan
from nvae_core.data.decoding.pool import decode_in_order
from nvae_core.data.errors import InvalidDataset, UnreadableFiles
from nvae_core.data.sources.stream import UNKNOWN_LICENCE, ImageStream, SplitStream, split_indices


def open_image_files(source: FolderSource | ZipSource, path: Path, seed: int) -> ImageStream:
    """Open what has subfolders `train` and `test`, or split its images by the seed."""
    names = FolderFiles(path).names() if source.kind == "folder" else list_zip(path)
    images = find_images(names, path)
    splits = find_splits(images)
    if not {"train", "test"} <= set(splits):
        train, test = split_indices(len(images), source.test_fraction, seed)
        splits = {"train": [images[i] for i in train], "test": [images[i] for i in test]}
    return stream_image_files(
        splits,
        path,
        DecodePlan(source.image_size, source.num_colors),
        max_unreadable_fraction=source.max_unreadable_fraction,
        licence=UNKNOWN_LICENCE,
    )


def find_images(names: Sequence[str], path: Path) -> list[str]:
    """Return those names that are names of images.

    Raises:
        InvalidDataset: there are none.
    """
    images = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES]
    if not images:
        raise InvalidDataset(f"source.path: there are no image files in {path}")
    return images


def find_splits(names: Sequence[str]) -> dict[SplitName, list[str]]:
    """Return the names below `train`, `validation` and `test`, where there are such folders.

    One folder around them all does not matter.
    """
    top = names[0].split("/")[0] + "/"
    inner = all(name.startswith(top) for name in names) and top.rstrip("/") not in SPLITS
    root = top if inner else ""
    found = {
        split: [name for name in names if name.startswith(f"{root}{split}/")] for split in SPLITS
    }
    return {split: below for split, below in found.items() if below}


def stream_image_files(
    splits: Mapping[SplitName, Sequence[str]],
    path: Path,
    plan: DecodePlan,
    *,
    max_unreadable_fraction: float,
    licence: str,
) -> ImageStream:
    """Return the images of these files; those that cannot be read are left out and noted."""
    num_files = sum(len(names) for names in splits.values())
    unreadable = UnreadableFiles(int(max_unreadable_fraction * num_files))

    def stream_split(names: Sequence[str]) -> SplitStream:
        return SplitStream(len(names), lambda: _read(path, names, plan, unreadable))

    height, width, num_colors = plan.shape
    return ImageStream(
        height=height,
        width=width,
        num_colors=num_colors,
        splits={split: stream_split(names) for split, names in splits.items()},
        licence=licence,
        unreadable=unreadable,
    )


def _read(
    path: Path, names: Sequence[str], plan: DecodePlan, unreadable: UnreadableFiles
) -> Iterator[Images]:
    for decoded in decode_in_order(path, names, plan):
        images = []
        for name, image in decoded:
            if isinstance(image, str):
                unreadable.add(name, image)
            else:
                images.append(image)
        if images:
            yield np.stack(images)
