"""What one analysis run does."""

from collections.abc import Callable

import torch

from nvae_core.analysis.nearest_images import make_nearest_images
from nvae_core.analysis.of_images import make_interpolations, make_reconstructions
from nvae_core.analysis.of_runs import make_curves
from nvae_core.analysis.of_samples import make_scale_traversal, make_temperature_table
from nvae_core.analysis.report import Report
from nvae_core.config import (
    ActiveChannels,
    Analysis,
    Interpolations,
    NearestImages,
    Reconstructions,
    ScaleTraversal,
    TemperatureTable,
    TrainingCurves,
)
from nvae_core.run_directory import ExitReason, Result, RunDirectory
from nvae_core.sampling.drawing import SamplingStopped


def analyze_run(
    config: Analysis, run: RunDirectory, device: torch.device, should_stop: Callable[[], bool]
) -> Result:
    """Do what the configuration asks for; pictures are there complete, or not at all.

    Raises:
        InvalidRunDirectory: a field does not fit the checkpoint, the data set or the runs.
        InvalidDataset, CheckpointCorrupt: an input is missing, damaged, or of another shape.
    """
    report = Report(run, config)
    try:
        _make(config, run, report, device, should_stop)
    except SamplingStopped:
        return Result(status="stopped", reason=ExitReason.STOPPED, step=report.step)
    return Result(status="succeeded", step=report.step, values=report.values)


def _make(
    config: Analysis,
    run: RunDirectory,
    report: Report,
    device: torch.device,
    should_stop: Callable[[], bool],
) -> None:
    if isinstance(config, ActiveChannels | TrainingCurves):
        make_curves(config, run, report)
    elif isinstance(config, NearestImages):
        make_nearest_images(config, run, report, device, should_stop)
    elif isinstance(config, TemperatureTable):
        make_temperature_table(config, run, report, device, should_stop)
    elif isinstance(config, ScaleTraversal):
        make_scale_traversal(config, run, report, device, should_stop)
    elif isinstance(config, Reconstructions):
        make_reconstructions(config, run, report, device, should_stop)
    else:
        assert isinstance(config, Interpolations)
        make_interpolations(config, run, report, device, should_stop)
