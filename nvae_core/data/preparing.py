"""A preparation from beginning to end: open the source, write its arrays, report on the way."""

import sys
import tempfile
import time
from pathlib import Path

from nvae_core.config import BundledSource, DatasetSource, PrepareDatasetConfig
from nvae_core.data.prepared import DatasetManifest, write_prepared
from nvae_core.data.sources import open_source
from nvae_core.run_directory import MetricsLine, NoticeLine, RunDirectory, StartedLine

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
