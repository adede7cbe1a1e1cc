"""Look inside a checkpoint or runs: `python -m nvae_core.cli.analyze RUN_DIRECTORY`."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nvae_core.analysis.of_latents import show_interpolation, show_reconstructions
from nvae_core.analysis.of_neighbours import show_nearest
from nvae_core.analysis.of_runs import show_active_channels, show_training_curves
from nvae_core.analysis.of_samples import tabulate_temperatures, traverse_scales
from nvae_core.analysis.pictures import Picture, Sources, report_picture
from nvae_core.analysis.run_series import read_runs
from nvae_core.checkpoint import CheckpointCorrupt
from nvae_core.config import (
    ActiveChannels,
    Analysis,
    Interpolation,
    NearestImages,
    OfCheckpoint,
    OfImages,
    OfRuns,
    Reconstructions,
    ScaleTraversal,
    TemperatureTableConfig,
    TrainingCurves,
)
from nvae_core.data.invalid import InvalidDataset
from nvae_core.data.loader import check_fits
from nvae_core.data.prepared import PreparedSplit, SplitName, open_prepared, read_manifest
from nvae_core.distributed import choose_device, compute_on_one_thread
from nvae_core.run_directory import ExitReason, Result, RunDirectory, StartedLine
from nvae_core.runtime.program import USAGE_STATUS, run_program
from nvae_core.runtime.stop import StopSignal
from nvae_core.sampling.batch_norm_statistics import load_batch_norm_statistics
from nvae_core.sampling.draw import SamplingStopped
from nvae_core.sampling.grids import report_sample
from nvae_core.sampling.sampler import Sampler


def main() -> int:
    """Run the program."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stderr.write("an analysis is made by one process, not by several ranks of torchrun\n")
        return USAGE_STATUS
    return run_program(Analysis, _analyze)


def _analyze(config: Analysis, run: RunDirectory) -> Result:
    compute_on_one_thread()
    stop = StopSignal(run).listen()
    run.append(StartedLine(at=time.time(), num_steps=1))
    sampler = None
    if isinstance(config, OfCheckpoint):
        sampler = _load(config, run)
    dataset = None
    if isinstance(config, OfImages):
        with _named_dataset():
            dataset = read_manifest(run.path / config.dataset)
    try:
        pictures = _pictures(config, run, sampler, stop.is_set)
    except SamplingStopped:
        return Result(status="stopped", reason=ExitReason.STOPPED, step=0)
    sources = Sources(sampler.manifest if sampler else None, dataset)
    for picture in pictures:
        report_picture(run, config, picture, sources)
    names = [f"{picture.name}.png" for picture in pictures]
    return Result(status="succeeded", step=1, values={"pictures": [*names]})


def _load(config: OfCheckpoint, run: RunDirectory) -> Sampler:
    try:
        return Sampler.load(run.path / config.checkpoint, choose_device())
    except CheckpointCorrupt as error:
        raise CheckpointCorrupt(f"checkpoint: {error}") from error


def _pictures(
    config: Analysis, run: RunDirectory, sampler: Sampler | None, should_stop: Callable[[], bool]
) -> list[Picture]:
    if isinstance(config, OfRuns):
        return _of_runs(config, run)
    assert sampler is not None
    if isinstance(config, OfImages):
        return _of_images(config, run, sampler, should_stop)
    if isinstance(config, ScaleTraversal):
        return [traverse_scales(config, sampler, should_stop=should_stop)]
    assert isinstance(config, TemperatureTableConfig)
    given = load_batch_norm_statistics(
        run, config.statistics, sampler.model, model_sha256=sampler.model_sha256
    )

    def keep(name: str, content: bytes) -> None:
        step = sampler.manifest.step
        report_sample(run, name, content, "application/octet-stream", step=step)

    return [tabulate_temperatures(config, sampler, given=given, keep=keep, should_stop=should_stop)]


def _of_runs(config: OfRuns, run: RunDirectory) -> list[Picture]:
    runs = read_runs(config, run)
    if isinstance(config, TrainingCurves):
        return [show_training_curves(config, runs)]
    assert isinstance(config, ActiveChannels)
    return show_active_channels(config, runs)


def _of_images(
    config: OfImages, run: RunDirectory, sampler: Sampler, should_stop: Callable[[], bool]
) -> list[Picture]:
    if isinstance(config, NearestImages):
        split = _open(run, config, config.split, sampler)
        has_test = config.split != "test" and "test" in split.manifest.splits
        held_out = _open(run, config, "test", sampler) if has_test else None
        return show_nearest(config, sampler, split, held_out, should_stop=should_stop)
    if isinstance(config, Reconstructions):
        split = _open(run, config, config.split, sampler)
        return [show_reconstructions(config, sampler, split, should_stop=should_stop)]
    assert isinstance(config, Interpolation)
    split = _open(run, config, config.split, sampler)
    return [show_interpolation(config, sampler, split, should_stop=should_stop)]


def _open(run: RunDirectory, config: OfImages, split: SplitName, sampler: Sampler) -> PreparedSplit:
    with _named_dataset():
        manifest = read_manifest(run.path / config.dataset)
        check_fits(manifest, sampler.model.config)
    if split not in manifest.splits:
        there = ", ".join(sorted(manifest.splits))
        raise InvalidDataset(f"split: the data set has no split {split!r}, but {there}")
    with _named_dataset():
        return open_prepared(run.path / config.dataset, split)


@contextmanager
def _named_dataset() -> Iterator[None]:
    """Name the field in what is wrong with a data set."""
    try:
        yield
    except InvalidDataset as error:
        raise InvalidDataset(f"dataset: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
