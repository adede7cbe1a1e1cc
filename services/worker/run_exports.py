"""Metrics of train jobs as the files that an analysis of runs reads."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nvae_core.config import SERIES, RunFiles
from nvae_core.run_directory import MetricsLine
from services.adapters.postgres.charts import Chart, Window, read_charts
from services.adapters.postgres.database import Session
from services.domain.analyses import RunsAnalysis
from services.domain.jobs import StoredSpec

# More than a picture has pixels; of a longer series the extremes are kept, so no spike is lost.
MAX_POINTS = 4000
ALL_STEPS = Window(from_step=0, to_step=2**63 - 1, max_points=MAX_POINTS)


@dataclass(frozen=True)
class RunExport:
    """What an analysis needs of one job."""

    name: str
    charts: Mapping[str, Chart]  # by metric


async def load_runs(session: Session, spec: StoredSpec) -> tuple[RunExport, ...]:
    """Return the series that an analysis draws; none of a job that does something else."""
    if not isinstance(spec, RunsAnalysis):
        return ()
    metrics = SERIES[spec.analysis]
    return tuple(
        [
            RunExport(run.name, await read_charts(session, run.job, ALL_STEPS, names=metrics))
            for run in spec.runs
        ]
    )


def write_runs(folder: Path, exports: Sequence[RunExport]) -> list[RunFiles]:
    """Write one progress file for each run; blocks."""
    files: list[RunFiles] = []
    for index, export in enumerate(exports):
        path = folder / f"run_{index}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line.model_dump_json()}\n" for line in _lines(export)))
        files.append(RunFiles(name=export.name, path=str(path)))
    return files


def _lines(export: RunExport) -> list[MetricsLine]:
    by_step: dict[int, dict[str, float]] = defaultdict(dict)
    for metric, chart in export.charts.items():
        for step, value in zip(chart.steps, chart.values, strict=True):
            by_step[step][metric] = value
    return [MetricsLine(at=0.0, step=step, values=by_step[step]) for step in sorted(by_step)]
