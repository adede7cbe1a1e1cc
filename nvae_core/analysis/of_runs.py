"""Analyses of runs: active channels (Fig. 10); loss, KL and λ (Fig. 11)."""

import math
from collections.abc import Mapping
from typing import Any

from nvae_core.analysis.drawing.curves import Line, draw_curves
from nvae_core.analysis.drawing.figures import render
from nvae_core.analysis.report import Report
from nvae_core.analysis.runs import Curve, read_curves
from nvae_core.config import SERIES, ActiveChannels, TrainingCurves
from nvae_core.run_directory import RunDirectory

TITLES = {"active_channels": "Active channels", "training_curves": "Training"}
LABELS = {
    "active_channels": "active channels",
    "loss": "loss (nats per image)",
    "kl": "KL (nats per image)",
    "spectral_weight": "λ",
}


def make_curves(config: ActiveChannels | TrainingCurves, run: RunDirectory, report: Report) -> None:
    """Draw the curves of all runs."""
    metrics = SERIES[config.analysis]
    curves = {files.name: read_curves(run.path, files, metrics) for files in config.runs}
    report.name_runs(list(curves))
    report.start(len(curves))
    panels = {
        LABELS[metric]: [
            Line(of_run[metric].steps, of_run[metric].values) for of_run in curves.values()
        ]
        for metric in metrics
    }
    picture = render(draw_curves, TITLES[config.analysis], panels, list(curves))
    numbers = {
        "curves": {
            name: {metric: summarize(curve) for metric, curve in of_run.items()}
            for name, of_run in curves.items()
        }
    }
    report.save_picture(config.analysis, picture, numbers)


def summarize(curve: Curve) -> Mapping[str, Any]:
    """Return ends and extremes of a curve; the extremes are those of its finite values."""
    finite = [value for value in curve.values if math.isfinite(value)]
    return {
        "num_points": len(curve.values),
        "first": {"step": curve.steps[0], "value": curve.values[0]},
        "last": {"step": curve.steps[-1], "value": curve.values[-1]},
        "lowest": min(finite, default=None),
        "highest": max(finite, default=None),
        "num_not_finite": len(curve.values) - len(finite),
    }
