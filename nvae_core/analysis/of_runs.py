"""What several runs reported, side by side (Fig. 10 and 11)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nvae_core.analysis.charts import Curve, draw_bars, draw_curves
from nvae_core.analysis.pictures import Picture
from nvae_core.config import ACTIVE_CHANNELS, CURVES, ActiveChannels, OfRuns, TrainingCurves
from nvae_core.run_directory import InvalidRunDirectory, MetricsLine, RunDirectory, read_progress

LABELS = ("loss (nats)", "KL (nats)", "λ")


@dataclass(frozen=True)
class RunSeries:
    """One run's metrics by name: values by step."""

    name: str
    values: dict[str, dict[int, float]] = field(default_factory=dict)

    def curve(self, metric: str) -> Curve:
        """Return one metric in the order of its steps; what is not finite is left out."""
        points = sorted(self.values.get(metric, {}).items())
        finite = [(step, value) for step, value in points if math.isfinite(value)]
        return Curve(self.name, [step for step, _ in finite], [value for _, value in finite])


def read_runs(config: OfRuns, run: RunDirectory) -> list[RunSeries]:
    """Read the metrics of every run.

    Raises:
        InvalidRunDirectory: one has none, or a line is not one of progress.
    """
    return [
        _read(index, given.name, run.path / given.path) for index, given in enumerate(config.runs)
    ]


def _read(index: int, name: str, path: Path) -> RunSeries:
    file = path / "progress.jsonl" if path.is_dir() else path
    series = RunSeries(name)
    try:
        for _, line in read_progress(file):
            if isinstance(line, MetricsLine):
                for metric, value in line.values.items():
                    series.values.setdefault(metric, {})[line.step] = value
    except (OSError, ValueError) as error:
        raise InvalidRunDirectory(f"runs.{index}: {path}: {error}") from error
    if not series.values:
        raise InvalidRunDirectory(f"runs.{index}: {path} has no metrics")
    return series


def show_training_curves(_: TrainingCurves, runs: list[RunSeries]) -> Picture:
    """Show loss, KL and λ over the steps."""
    curves = {
        label: [run.curve(name) for run in runs] for name, label in zip(CURVES, LABELS, strict=True)
    }
    png = draw_curves(curves, title="Training, run by run")
    return Picture("training_curves", png, {"curves": _numbers(curves)})


def show_active_channels(_: ActiveChannels, runs: list[RunSeries]) -> list[Picture]:
    """Show how many channels are active over the steps, and in which groups at the end."""
    over_steps = {"active latent channels": [run.curve(ACTIVE_CHANNELS) for run in runs]}
    at_the_end = {run.name: _last_of_groups(run) for run in runs}
    return [
        Picture(
            "active_channels",
            draw_curves(over_steps, title="Active latent channels during training"),
            {"curves": _numbers(over_steps)},
        ),
        Picture(
            "active_channels_per_group",
            draw_bars(at_the_end, title="Active channels at the end", label="active channels"),
            {"groups": at_the_end},
        ),
    ]


def _last_of_groups(run: RunSeries) -> list[float]:
    names = sorted(name for name in run.values if name.startswith(f"{ACTIVE_CHANNELS}/group_"))
    return [run.curve(name).values[-1] for name in names if run.curve(name).values]


def _numbers(panels: Mapping[str, list[Curve]]) -> dict[str, object]:
    return {
        label: [
            {"name": curve.name, "steps": list(curve.steps), "values": list(curve.values)}
            for curve in curves
        ]
        for label, curves in panels.items()
    }
