"""Prepared data sets: a folder with `dataset.json` and one `uint8` array per split."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from nvae_core.config import DatasetSource
from nvae_core.data.invalid import InvalidDataset
from nvae_core.data.sources import Images, ImageSplits
from nvae_core.run_directory import describe_errors, file_sha256, sync_folder, write_atomically

MANIFEST_NAME = "dataset.json"
SplitName = Literal["train", "test"]


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


@dataclass(frozen=True)
class PreparedSplit:
    """Images of one split, mapped from disk: (N, H, W, C)."""

    images: Images
    manifest: DatasetManifest


def write_prepared(folder: Path, splits: ImageSplits, source: DatasetSource) -> DatasetManifest:
    """Write a prepared data set; the folder appears complete, or not at all."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        manifest = _write_files(temporary, splits, source)
        sync_folder(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(folder.parent)
    return manifest


def open_prepared(folder: Path, split: SplitName) -> PreparedSplit:
    """Open one split of a prepared data set after checking its file against its hash.

    Raises:
        InvalidDataset: a file is missing or damaged; the message names it.
    """
    manifest = read_manifest(folder)
    path = folder / f"{split}.npy"
    expected = manifest.splits.get(split)
    if expected is None:
        raise InvalidDataset(f"{folder / MANIFEST_NAME}: there is no split {split!r}")
    try:
        if path.stat().st_size != expected.num_bytes or file_sha256(path) != expected.sha256:
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


def _write_files(folder: Path, splits: ImageSplits, source: DatasetSource) -> DatasetManifest:
    files: dict[SplitName, SplitFile] = {
        "train": _write_split(folder / "train.npy", splits.train),
        "test": _write_split(folder / "test.npy", splits.test),
    }
    _, height, width, num_colors = splits.train.shape
    hashes = "".join(f"{name} {file.sha256}\n" for name, file in sorted(files.items()))
    manifest = DatasetManifest(
        height=height,
        width=width,
        num_colors=num_colors,
        splits=files,
        content_hash=hashlib.sha256(hashes.encode()).hexdigest(),
        source=source,
    )
    write_atomically(folder / MANIFEST_NAME, manifest.model_dump_json(indent=2).encode())
    return manifest


def _write_split(path: Path, images: Images) -> SplitFile:
    with path.open("wb") as file:
        np.save(file, np.ascontiguousarray(images), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return SplitFile(
        num_images=len(images), num_bytes=path.stat().st_size, sha256=file_sha256(path)
    )
