"""Prepared data sets: a folder with `dataset.json` and one `uint8` array per split."""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from nvae_core.config import DatasetSource
from nvae_core.data.invalid import InvalidDataset
from nvae_core.data.limits import check_disk
from nvae_core.data.split_writer import SplitWriter
from nvae_core.data.streams import Images, ImageStream, SplitName, SplitStream
from nvae_core.run_directory import describe_errors, file_sha256, sync_folder, write_atomically

__all__ = [
    "DatasetManifest",
    "PreparedSplit",
    "SplitFile",
    "SplitName",
    "open_prepared",
    "read_manifest",
    "write_prepared",
]

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


def write_prepared(
    folder: Path,
    images: ImageStream,
    source: DatasetSource,
    *,
    on_progress: Callable[[int], None] = lambda _num_images: None,
) -> DatasetManifest:
    """Write a prepared data set; the folder appears complete, or not at all.

    Args:
        folder: is replaced.
        images: of all splits.
        source: is recorded.
        on_progress: is told how many images are written, after each batch.

    Raises:
        InvalidDataset: an image cannot be read.
        OSError: there is no room for the images.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        check_disk(temporary, images.num_bytes)
        manifest = _write_files(temporary, images, source, on_progress)
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


def _write_files(
    folder: Path,
    images: ImageStream,
    source: DatasetSource,
    on_progress: Callable[[int], None],
) -> DatasetManifest:
    files: dict[SplitName, SplitFile] = {}
    num_before = 0
    for name, split in images.splits.items():
        files[name] = _write_split(folder / f"{name}.npy", images, split, on_progress, num_before)
        num_before += files[name].num_images
    images.unreadable.check()
    for name, file in files.items():
        if file.num_images == 0:
            raise InvalidDataset(f"source.path: no image of the split {name!r} can be read")
    hashes = "".join(f"{name} {file.sha256}\n" for name, file in sorted(files.items()))
    manifest = DatasetManifest(
        height=images.height,
        width=images.width,
        num_colors=images.num_colors,
        splits=files,
        content_hash=hashlib.sha256(hashes.encode()).hexdigest(),
        source=source,
        licence=images.licence,
        num_unreadable=images.unreadable.count,
        unreadable=tuple(images.unreadable.problems),
    )
    write_atomically(folder / MANIFEST_NAME, manifest.model_dump_json(indent=2).encode())
    return manifest


def _write_split(
    path: Path,
    images: ImageStream,
    split: SplitStream,
    on_progress: Callable[[int], None],
    num_before: int,
) -> SplitFile:
    shape = (images.height, images.width, images.num_colors)
    writer = SplitWriter(path, split.num_images, shape)
    try:
        for batch in split.read():
            writer.append(batch)
            on_progress(num_before + writer.num_images)
        sha256 = writer.finish()
    finally:
        writer.close()
    return SplitFile(num_images=writer.num_images, num_bytes=path.stat().st_size, sha256=sha256)
