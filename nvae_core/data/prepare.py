"""A preparation from beginning to end: open the source, write its arrays, report on the way."""

import hashlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nvae_core.config import BundledSource, DatasetSource, PrepareDatasetConfig
from nvae_core.data.dataset import MANIFEST_NAME, DatasetManifest, SplitFile, SplitName
from nvae_core.data.errors import InvalidDataset, check_disk
from nvae_core.data.sources import open_source
from nvae_core.data.sources.stream import ImageStream, SplitStream
from nvae_core.run_directory import (
    MetricsLine,
    NoticeLine,
    RunDirectory,
    StartedLine,
    file_sha256,
    sync_folder,
    write_atomically,
)

REPORT_SECONDS = 1.0


def prepare_dataset(config: PrepareDatasetConfig, run: RunDirectory) -> DatasetManifest:
    """Prepare the source of a configuration in its run directory.

    Raises:
        InvalidDataset: the source cannot be used; the message names the field or the file.
    """
    with tempfile.TemporaryDirectory(prefix=".unpacked.", dir=run.path) as scratch:
        images = open_source(
            _from_run_directory(config.source, run), seed=config.seed, scratch=Path(scratch)
        )
        report = ProgressReport(run, images.num_images)
        manifest = write_prepared(
            run.dataset, images, _as_recorded(config), on_progress=report.update
        )
    report.finish(manifest)
    return manifest


class ProgressReport:
    """How many images are written: lines of `progress.jsonl`, and on standard error for people."""

    def __init__(self, run: RunDirectory, num_images: int) -> None:
        self._run = run
        self._num_images = num_images
        self._started_at = self._reported_at = time.monotonic()
        run.append(StartedLine(at=time.time(), num_steps=num_images))

    def update(self, num_done: int) -> None:
        """Report, but not more than once in a while."""
        if time.monotonic() - self._reported_at >= REPORT_SECONDS:
            self._report(num_done)

    def finish(self, manifest: DatasetManifest) -> None:
        """Report the end, and what was left out."""
        self._report(sum(split.num_images for split in manifest.splits.values()))
        if manifest.num_unreadable:
            message = f"{manifest.num_unreadable} image files could not be read and are left out"
            self._run.append(NoticeLine(at=time.time(), name="unreadable_images", message=message))

    def _report(self, num_done: int) -> None:
        self._reported_at = time.monotonic()
        rate = num_done / max(self._reported_at - self._started_at, 1e-3)
        values = {"num_images": float(num_done), "images_per_second": rate}
        self._run.append(MetricsLine(at=time.time(), step=num_done, values=values))
        sys.stderr.write(f"{num_done} of {self._num_images} images, {rate:.0f} per second\n")


def _from_run_directory(source: DatasetSource, run: RunDirectory) -> DatasetSource:
    if isinstance(source, BundledSource) or source.is_in_s3:
        return source
    return source.at(str(run.path / source.path))


def _as_recorded(config: PrepareDatasetConfig) -> DatasetSource:
    if isinstance(config.source, BundledSource) or config.origin is None:
        return config.source
    return config.source.at(config.origin)


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
    """Write the array of one split batch by batch; fewer images than announced are fine."""
    shape = (images.height, images.width, images.num_colors)
    header = _header(split.num_images, shape)
    digest = hashlib.sha256(header)
    num_images = 0
    with path.open("wb") as file:
        file.write(header)
        for batch in split.read():
            assert batch.shape[1:] == shape
            content = np.ascontiguousarray(batch).data
            digest.update(content)
            file.write(content)
            num_images += len(batch)
            on_progress(num_before + num_images)
        is_complete = num_images == split.num_images
        if not is_complete:  # numpy leaves room in its header for another count
            file.seek(0)
            file.write(_header(num_images, shape))
        file.flush()
        os.fsync(file.fileno())
    sha256 = digest.hexdigest() if is_complete else file_sha256(path)
    return SplitFile(num_images=num_images, num_bytes=path.stat().st_size, sha256=sha256)


def _header(num_images: int, image_shape: tuple[int, int, int]) -> bytes:
    header = io.BytesIO()
    description = {"descr": "|u1", "fortran_order": False, "shape": (num_images, *image_shape)}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()
