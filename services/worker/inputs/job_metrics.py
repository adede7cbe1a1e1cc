"""Metrics of other jobs, written as the trainer reads them: lines of progress."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nvae_core.config import ACTIVE_CHANNELS, CURVES, RunMetrics
from nvae_core.run_directory import MetricsLine
from services.database import jobs, metrics
from services.database.metrics import Chart
from services.database.session import Session
from services.database.tables import Job
from services.domain.specs import JobsAnalysisSpec, TrainingCurvesSpec

MAX_POINTS = 2000  # of each metric: more than a picture has pixels
MAX_NAME = 60
MAX_BESIDE_ID = 20
BREAKS = ("Cc", "Zl", "Zp")  # control characters, and separators of lines
LAST_STEP = 2**31 - 1


@dataclass(frozen=True)
class JobMetrics:
    """What a job reported, and what it is called in a picture."""

    job_id: str
    name: str
    charts: dict[str, Chart]


async def read_job_metrics(session: Session, spec: JobsAnalysisSpec) -> tuple[JobMetrics, ...]:
    """Return the metrics that are compared; where two jobs have one name, ids stand beside it."""
    jobs_of_spec = [await jobs.find(session, job_id) for job_id in spec.jobs]
    window = metrics.Window(from_step=0, to_step=LAST_STEP, max_points=MAX_POINTS)
    read = []
    for job, name in zip(jobs_of_spec, _names_of(jobs_of_spec), strict=True):
        names = _metrics_of(spec, job)
        charts = await metrics.read_charts(session, job.id, window, names=names)
        read.append(JobMetrics(job.id, name, charts))
    return tuple(read)


def _names_of(jobs_of_spec: Sequence[Job]) -> list[str]:
    names = [_in_one_line(job.name or "")[:MAX_NAME].strip() or job.id for job in jobs_of_spec]
    with_ids = [
        f"{name[:MAX_BESIDE_ID]} {job.id}" for name, job in zip(names, jobs_of_spec, strict=True)
    ]
    told_apart = [
        name if names.count(name) == 1 else with_id
        for name, with_id in zip(names, with_ids, strict=True)
    ]
    # A third job may be called as one of two is with its id.
    return told_apart if len({*told_apart}) == len(jobs_of_spec) else with_ids


def _in_one_line(name: str) -> str:
    """Return a name, which may be any text, without what a legend cannot show."""
    shown = (" " if unicodedata.category(letter) in BREAKS else letter for letter in name)
    return " ".join("".join(shown).split())


def _metrics_of(spec: JobsAnalysisSpec, job: Job) -> list[str]:
    """Return what the picture is drawn from: all of a job's metrics may be a hundred series."""
    if isinstance(spec, TrainingCurvesSpec):
        return [*CURVES]
    reported = job.latest_metrics or {}
    groups = [name for name in reported if name.startswith(f"{ACTIVE_CHANNELS}/")]
    return [ACTIVE_CHANNELS, *groups]


def write_job_metrics(metrics: Sequence[JobMetrics], folder: Path) -> list[RunMetrics]:
    """Write one file per job; blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = []
    for number, job in enumerate(metrics):
        path = folder / f"{number:02d}.jsonl"
        by_step: dict[int, dict[str, float]] = defaultdict(dict)
        for name, chart in job.charts.items():
            for step, value in zip(chart.steps, chart.values, strict=True):
                by_step[step][name] = value
        lines = [
            MetricsLine(at=0.0, step=step, values=values).model_dump_json()
            for step, values in sorted(by_step.items())
        ]
        path.write_text("".join(f"{line}\n" for line in lines))
        runs.append(RunMetrics(name=job.name, path=str(path), job=job.job_id))
    return runs
