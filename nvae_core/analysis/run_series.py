"""The metrics that runs reported, read from their lines of progress."""

import hashlib
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from nvae_core.analysis.curves import Curve
from nvae_core.analysis.groups import GroupSeries
from nvae_core.config import ACTIVE_CHANNELS, CURVES, OfRuns, RunMetrics, TrainingCurves
from nvae_core.run_directory import InvalidRunDirectory, MetricsLine, RunDirectory, read_progress

GROUP = re.compile(rf"{ACTIVE_CHANNELS}/group_(\d{{2,4}})")


@dataclass(frozen=True)
class RunSeries:
    """One run's metrics by name: values by step."""

    name: str
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    lines_sha256: str = ""

    def curve(self, metric: str) -> Curve:
        """Return one metric in the order of its steps."""
        points = sorted(self.values.get(metric, {}).items())
        finite = [(step, value) for step, value in points if math.isfinite(value)]
        return Curve(
            self.name,
            steps=[step for step, _ in finite],
            values=[value for _, value in finite],
            not_finite_steps=[step for step, value in points if not math.isfinite(value)],
        )

    def groups(self) -> GroupSeries:
        """Return the active channels of each group by its number; one without any has its place."""
        matches = {name: GROUP.fullmatch(name) for name in self.values}
        found = {int(match[1]): self.values[name] for name, match in matches.items() if match}
        steps = sorted({step for values in found.values() for step in values})
        numbers = range(max(found, default=-1) + 1)
        per_group = [
            [found.get(number, {}).get(step, math.nan) for step in steps] for number in numbers
        ]
        return GroupSeries(
            self.name,
            steps,
            [[value if math.isfinite(value) else None for value in group] for group in per_group],
        )


def read_runs(config: OfRuns, run: RunDirectory) -> list[RunSeries]:
    """Read the metrics of every run.

    Raises:
        InvalidRunDirectory: one is not there, has not what is shown, or a line is not
            one of progress.
    """
    wanted = CURVES[0] if isinstance(config, TrainingCurves) else ACTIVE_CHANNELS
    return [_read(index, given, run.path, wanted) for index, given in enumerate(config.runs)]


def _read(index: int, given: RunMetrics, folder: Path, wanted: str) -> RunSeries:
    path = folder / given.path
    named = f"runs.{index}: {f'job {given.job}' if given.job else path}"
    try:
        series = _read_lines(given.name, path / "progress.jsonl" if path.is_dir() else path)
    except OSError as error:
        raise InvalidRunDirectory(f"{named}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidRunDirectory(f"{named}: {error}") from error
    if wanted not in series.values:
        raise InvalidRunDirectory(f"{named}: reported no {wanted}")
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
