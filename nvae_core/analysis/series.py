"""Metrics that runs left, read from their progress, and what is to say of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nvae_core.run_directory import InvalidRunDirectory, MetricsLine, RunDirectory
from nvae_core.run_directory.progress import read_progress

Run = dict[str, "Series"]  # by the metric's name


@dataclass(frozen=True)
class Series:
    """The values of one metric by step, which rises."""

    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Summary:
    """What a series comes to; its extremes and its last value are of the finite ones."""

    num_points: int
    num_not_finite: int
    first_step: int
    last_step: int
    last: float | None
    lowest: float | None
    lowest_step: int | None
    highest: float | None
    highest_step: int | None


def read_run(path: Path, names: Sequence[str], *, prefix: str | None = None) -> Run:
    """Return the series of these names, and of those that begin with the prefix.

    A step that a resumed run reported again counts once, with its last value.

    Args:
        path: of a run directory, or of its progress file.
        names: have to be there.
        prefix: of further ones.

    Raises:
        ValueError: there is no progress, it is damaged, or a name is not in it.
    """
    file = RunDirectory(path).progress_path if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{file.name} is not there")
    points: dict[str, dict[int, float]] = {name: {} for name in names}
    for _, line in read_progress(file):
        if isinstance(line, MetricsLine):
            for name, value in line.values.items():
                if name in points or (prefix is not None and name.startswith(prefix)):
                    points.setdefault(name, {})[line.step] = value
    missing = [name for name in names if not points[name]]
    if missing:
        raise ValueError(f"has no metric {missing[0]!r}: only training reports it")
    return {name: _in_order(values) for name, values in sorted(points.items())}


def read_runs(
    paths: dict[str, Path], names: Sequence[str], *, prefix: str | None = None
) -> dict[str, Run]:
    """Return `read_run` of each run by name.

    Raises:
        InvalidRunDirectory: one cannot be read; the message names the field.
    """
    runs: dict[str, Run] = {}
    for index, (name, path) in enumerate(paths.items()):
        try:
            runs[name] = read_run(path, names, prefix=prefix)
        except (OSError, ValueError) as error:
            raise InvalidRunDirectory(f"runs.{index}.path: {name}: {error}") from error
    return runs


def summarize(series: Series) -> Summary:
    """Return what a series comes to."""
    finite = [
        (value, step)
        for step, value in zip(series.steps, series.values, strict=True)
        if math.isfinite(value)
    ]
    lowest = min(finite, default=(None, None))
    highest = max(finite, key=lambda point: (point[0], -point[1]), default=(None, None))
    return Summary(
        num_points=len(series.steps),
        num_not_finite=len(series.steps) - len(finite),
        first_step=series.steps[0],
        last_step=series.steps[-1],
        last=finite[-1][0] if finite else None,
        lowest=lowest[0],
        lowest_step=lowest[1],
        highest=highest[0],
        highest_step=highest[1],
    )


def _in_order(values: dict[int, float]) -> Series:
    steps = sorted(values)
    return Series(tuple(steps), tuple(values[step] for step in steps))
