"""Look inside a checkpoint or runs: `python -m nvae_core.cli.analyze RUN_DIRECTORY`."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nvae_core.analysis.experiments.curves import show_active_channels, show_training_curves
from nvae_core.analysis.experiments.interpolation import show_interpolation
from nvae_core.analysis.experiments.neighbours import show_neighbours
from nvae_core.analysis.experiments.reconstruction import show_reconstructions
from nvae_core.analysis.experiments.scales import show_scales
from nvae_core.analysis.experiments.temperatures import show_temperatures
from nvae_core.analysis.report import Picture, Sources, report_picture
from nvae_core.checkpoint import CheckpointCorrupt
from nvae_core.config import (
    ActiveChannels,
    Analysis,
    Interpolation,
    NearestImages,
    OfCheckpoint,
    OfImages,
    Reconstructions,
    ScaleTraversal,
    TemperatureTableConfig,
    TrainingCurves,
)
from nvae_core.data.dataset import check_fits, open_prepared, read_manifest
from nvae_core.data.errors import InvalidDataset
from nvae_core.distributed import choose_device, compute_on_one_thread, prepare_device
from nvae_core.run_directory import ExitReason, Result, RunDirectory, StartedLine
from nvae_core.runtime.program import USAGE_STATUS, run_program
from nvae_core.runtime.stop import StopSignal
from nvae_core.sampling.draw import SamplingStopped
from nvae_core.sampling.sampler import Sampler


def main() -> int:
    """Run the program."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stderr.write("an analysis is made by one process, not by several ranks of torchrun\n")
        return USAGE_STATUS
    return run_program(Analysis, _analyze)


def _analyze(config: Analysis, run: RunDirectory) -> Result:
    compute_on_one_thread()
    prepare_device()
    stop = StopSignal(run).listen()
    run.append(StartedLine(at=time.time(), num_steps=1))
    try:
        pictures, sources = _make_pictures(config, run, stop.is_set)
    except SamplingStopped:
        return Result(status="stopped", reason=ExitReason.STOPPED, step=0)
    for picture in pictures:
        report_picture(run, config, picture, sources)
    names = [f"{picture.name}.png" for picture in pictures]
    return Result(status="succeeded", step=1, values={"pictures": [*names]})


def _make_pictures(
    config: Analysis, run: RunDirectory, should_stop: Callable[[], bool]
) -> tuple[list[Picture], Sources]:
    if isinstance(config, TrainingCurves):
        return [show_training_curves(config, run)], Sources()
    if isinstance(config, ActiveChannels):
        return show_active_channels(config, run), Sources()
    assert isinstance(config, OfCheckpoint)
    with _errors_of_field("checkpoint"):
        sampler = Sampler.load(run.path / config.checkpoint, choose_device())
    if isinstance(config, OfImages):
        return _compare_with_images(config, run, sampler, should_stop)
    if isinstance(config, ScaleTraversal):
        picture = show_scales(config, sampler, should_stop=should_stop)
    else:
        assert isinstance(config, TemperatureTableConfig)
        picture = show_temperatures(config, run, sampler, should_stop=should_stop)
    return [picture], Sources(sampler.manifest)


def _compare_with_images(
    config: OfImages, run: RunDirectory, sampler: Sampler, should_stop: Callable[[], bool]
) -> tuple[list[Picture], Sources]:
    assert isinstance(config, NearestImages | Reconstructions | Interpolation)
    folder = run.path / config.dataset
    with _errors_of_field("dataset"):
        manifest = read_manifest(folder)
        check_fits(manifest, sampler.model.config)
    if config.split not in manifest.splits:
        names = ", ".join(sorted(manifest.splits))
        raise InvalidDataset(f"split: the data set has no split {config.split!r}, but {names}")
    held_out = None
    with _errors_of_field("dataset"):
        split = open_prepared(folder, config.split)
        if isinstance(config, NearestImages) and "test" in {*manifest.splits} - {config.split}:
            held_out = open_prepared(folder, "test")
    if isinstance(config, NearestImages):
        pictures = show_neighbours(config, sampler, split, held_out, should_stop=should_stop)
    elif isinstance(config, Reconstructions):
        pictures = [show_reconstructions(config, sampler, split, should_stop=should_stop)]
    else:
        pictures = [show_interpolation(config, sampler, split, should_stop=should_stop)]
    return pictures, Sources(sampler.manifest, manifest)


@contextmanager
def _errors_of_field(field: str) -> Iterator[None]:
    """Name the field of the configuration in what is wrong with a checkpoint or a data set."""
    try:
        yield
    except (CheckpointCorrupt, InvalidDataset) as error:
        raise type(error)(f"{field}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
