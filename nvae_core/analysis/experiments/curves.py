"""What several runs reported, side by side: training curves and active channels (Fig. 10, 11)."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nvae_core.analysis.charts import Curve, GroupSeries, draw_curves, draw_groups
from nvae_core.analysis.report import Picture
from nvae_core.config import ACTIVE_CHANNELS, CURVES, ActiveChannels, OfRuns, TrainingCurves
from nvae_core.run_directory import InvalidRunDirectory, MetricsLine, RunDirectory, read_progress

LABELS = ("loss (nats)", "−ELBO (nats)", "KL (nats)", "λ")
GROUP = re.compile(rf"{ACTIVE_CHANNELS}/group_(\d{{2,4}})")


@dataclass(frozen=True)
class RunSeries:
    """The metrics of one run by name: values by step."""

    name: str
    values: Mapping[str, Mapping[int, float]]
    lines_sha256: str  # of its progress, as far as it was read

    def curve(self, metric: str) -> Curve:
        """Return one metric in the order of its steps."""
        points = sorted(self.values.get(metric, {}).items())
        return Curve(
            self.name,
            steps=[step for step, value in points if math.isfinite(value)],
            values=[value for _, value in points if math.isfinite(value)],
            not_finite_steps=[step for step, value in points if not math.isfinite(value)],
        )

    def groups(self) -> GroupSeries:
        """Return the active channels of each group by its number; one without any has its place."""
        matches = {name: GROUP.fullmatch(name) for name in self.values}
        by_number = {int(match[1]): self.values[name] for name, match in matches.items() if match}
        steps = sorted({step for values in by_number.values() for step in values})
        groups = [by_number.get(number, {}) for number in range(max(by_number, default=-1) + 1)]
        return GroupSeries(
            self.name, steps, [[_finite(group.get(step)) for step in steps] for group in groups]
        )


def show_training_curves(config: TrainingCurves, run: RunDirectory) -> Picture:
    """Show loss, −ELBO, which λ is no part of, KL and λ over the steps."""
    series = _read_runs(config, run.path, required=CURVES[0])
    panels = {
        label: [one.curve(metric) for one in series]
        for metric, label in zip(CURVES, LABELS, strict=True)
    }
    png = draw_curves(panels, title="Training, run by run")
    return Picture("training_curves", png, _describe_runs(series) | _describe_curves(panels))


def show_active_channels(config: ActiveChannels, run: RunDirectory) -> list[Picture]:
    """Show how many channels are active over the steps, in total and in each group."""
    series = _read_runs(config, run.path, required=ACTIVE_CHANNELS)
    runs = _describe_runs(series)
    panels = {"active latent channels": [one.curve(ACTIVE_CHANNELS) for one in series]}
    png = draw_curves(panels, title="Active latent channels during training")
    total = Picture("active_channels", png, runs | _describe_curves(panels))
    groups = [one.groups() for one in series]
    if not any(one.values for one in groups):
        return [total]
    png = draw_groups(groups, title="Active channels of latent groups", label="active channels")
    numbers = {
        "groups": {one.name: one.last() for one in groups},
        "series": [{"name": one.name, "steps": one.steps, "groups": one.values} for one in groups],
    }
    return [total, Picture("active_channels_per_group", png, runs | numbers)]


def _read_runs(config: OfRuns, folder: Path, *, required: str) -> list[RunSeries]:
    """Read the metrics of every run; paths may be relative to a folder.

    Raises:
        InvalidRunDirectory: one is not there, did not report the metric that is required, or a
            line is not one of progress.
    """
    series = []
    for index, run in enumerate(config.runs):
        path = folder / run.path
        field = f"runs.{index}: {f'job {run.job}' if run.job else path}"
        try:
            series.append(_read_lines(run.name, path / "progress.jsonl" if path.is_dir() else path))
        except OSError as error:
            raise InvalidRunDirectory(f"{field}: {error.strerror}") from error
        except ValueError as error:
            raise InvalidRunDirectory(f"{field}: {error}") from error
        if required not in series[-1].values:
            raise InvalidRunDirectory(f"{field}: reported no {required}")
    return series


def _read_lines(name: str, file: Path) -> RunSeries:
    values: dict[str, dict[int, float]] = {}
    with file.open("rb") as content:  # of which more may come while it is read
        end = 0
        for offset, line in read_progress(file):
            end = offset
            if isinstance(line, MetricsLine):
                for metric, value in line.values.items():
                    values.setdefault(metric, {})[line.step] = value
        return RunSeries(name, values, hashlib.sha256(content.read(end)).hexdigest())


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _describe_runs(series: Sequence[RunSeries]) -> dict[str, object]:
    return {"runs": [{"name": one.name, "lines_sha256": one.lines_sha256} for one in series]}


def _describe_curves(panels: Mapping[str, Sequence[Curve]]) -> dict[str, object]:
    return {
        "curves": {label: [asdict(curve) for curve in curves] for label, curves in panels.items()}
    }
