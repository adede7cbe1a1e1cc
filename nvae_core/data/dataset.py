"""Prepared data sets: a folder with `dataset.json` and one `uint8` array per split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from nvae_core.config import DatasetSource, ModelConfig
from nvae_core.data.errors import InvalidDataset
from nvae_core.run_directory import describe_errors, file_sha256

Images = npt.NDArray[np.uint8]  # (N, H, W, C)
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

MANIFEST_NAME = "dataset.json"


class SplitFile(BaseModel):
    """One split's array: `<split>.npy`, (N, H, W, C) of `uint8`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_images: int
    num_bytes: int
    sha256: str


class DatasetManifest(BaseModel):
    """Contents of `dataset.json`; the content hash is equal where all images are equal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    height: int
    width: int
    num_colors: int
    splits: dict[SplitName, SplitFile]
    content_hash: str
    source: DatasetSource
    licence: str = ""  # a note, for people
    num_unreadable: int = 0  # image files that were left out
    unreadable: tuple[str, ...] = ()  # the first of them, "name: problem"


@dataclass(frozen=True)
class PreparedSplit:
    """Images of one split, mapped from disk: (N, H, W, C)."""

    images: Images
    manifest: DatasetManifest


def open_prepared(folder: Path, split: SplitName, *, verify: bool = True) -> PreparedSplit:
    """Open one split of a prepared data set after checking its file against `dataset.json`.

    Args:
        folder: that holds the data set.
        split: its name.
        verify: read the whole file to check its hash; without it, its size and shape only.

    Raises:
        InvalidDataset: a file is missing or damaged; the message names it.
    """
    manifest = read_manifest(folder)
    path = folder / f"{split}.npy"
    expected = manifest.splits.get(split)
    if expected is None:
        raise InvalidDataset(f"{folder / MANIFEST_NAME}: there is no split {split!r}")
    try:
        if path.stat().st_size != expected.num_bytes or (
            verify and file_sha256(path) != expected.sha256
        ):
            raise InvalidDataset(f"{path}: does not match the hash in {MANIFEST_NAME}")
    except OSError as error:
        raise InvalidDataset(f"{path}: {error.strerror}") from error
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InvalidDataset(f"{path}: {error}") from error
    shape = (expected.num_images, manifest.height, manifest.width, manifest.num_colors)
    if images.dtype != np.uint8 or images.shape != shape:
        raise InvalidDataset(f"{path}: is {images.dtype} {images.shape}, not uint8 {shape}")
    return PreparedSplit(images, manifest)


def read_manifest(folder: Path) -> DatasetManifest:
    """Read `dataset.json`.

    Raises:
        InvalidDataset: it is missing or not valid.
    """
    path = folder / MANIFEST_NAME
    try:
        return DatasetManifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidDataset(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise InvalidDataset(f"{path}: {describe_errors(error)}") from error


def check_fits(manifest: DatasetManifest, model: ModelConfig) -> None:
    """Check that the images are of the size and the colours of the model.

    Raises:
        InvalidDataset: they are not.
    """
    if manifest.height != model.image_size or manifest.width != model.image_size:
        raise InvalidDataset(
            f"the images of the data set are {manifest.height}x{manifest.width} pixels, "
            f"but model.image_size is {model.image_size}"
        )
    if manifest.num_colors != model.num_colors:
        raise InvalidDataset(
            f"the images of the data set have {manifest.num_colors} colour channels, "
            f"but model.num_colors is {model.num_colors}"
        )
