"""Curves that runs have left in their progress."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nvae_core.config import RunFiles
from nvae_core.run_directory import InvalidRunDirectory, MetricsLine, RunDirectory, read_progress


@dataclass(frozen=True)
class Curve:
    """The values of one metric of one run, by step."""

    steps: tuple[int, ...]
    values: tuple[float, ...]


def read_curves(folder: Path, files: RunFiles, metrics: Sequence[str]) -> dict[str, Curve]:
    """Read metrics of one run; of a step that was reported twice, after a resume, the last counts.

    Args:
        folder: what a relative path is relative to.
        files: the run.
        metrics: by name.

    Raises:
        InvalidRunDirectory: there is no such file, it is damaged, or a metric is not in it.
    """
    path = folder / files.path
    if path.is_dir():
        path = RunDirectory(path).progress_path
    if not path.is_file():
        raise InvalidRunDirectory(f"runs: {files.name}: there is no file {path}")
    points: dict[str, dict[int, float]] = {metric: {} for metric in metrics}
    try:
        for _, line in read_progress(path):
            if isinstance(line, MetricsLine):
                for metric in points.keys() & line.values.keys():
                    points[metric][line.step] = line.values[metric]
    except ValueError as error:
        raise InvalidRunDirectory(f"runs: {files.name}: {path}: {error}") from error
    for metric, values in points.items():
        if not values:
            raise InvalidRunDirectory(f"runs: {files.name}: {path} has no values of {metric}")
    return {metric: _as_curve(values) for metric, values in points.items()}


def _as_curve(values: dict[int, float]) -> Curve:
    steps = sorted(values)
    return Curve(tuple(steps), tuple(values[step] for step in steps))
