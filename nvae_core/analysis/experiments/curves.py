"""Curves of training runs beside each other: active channels (Fig. 10), loss, KL, λ (Fig. 11)."""

from dataclasses import asdict
from pathlib import Path

from nvae_core.analysis.context import Context, Picture
from nvae_core.analysis.drawing.curves import Heatmap, Panel, draw_curves
from nvae_core.analysis.series import Run, read_runs, summarize
from nvae_core.config import (
    CURVES,
    NUM_ACTIVE,
    NUM_ACTIVE_OF_GROUP,
    ActiveChannels,
    RunAnalysis,
    TrainingCurves,
)

LABELS = ("loss, in nats per image", "KL, in nats per image", "λ of spectral regularization")


def analyze_active_channels(config: ActiveChannels, context: Context) -> Picture:
    """Draw how many latent channels are active, in total and in each group.

    Raises:
        InvalidRunDirectory: a run is not there, or did not report that.
    """
    runs = read_runs(_paths(config, context), [NUM_ACTIVE], prefix=NUM_ACTIVE_OF_GROUP)
    totals = {name: run[NUM_ACTIVE] for name, run in runs.items()}
    heatmaps = [
        Heatmap(f"active channels of each group: {name}", groups)
        for name, run in runs.items()
        if (groups := [own for metric, own in run.items() if metric != NUM_ACTIVE])
    ]
    canvas = draw_curves(
        "Active latent channels over the training",
        "a channel is active while its KL is above 0.1 nats",
        [Panel("active channels, all groups", totals, is_from_zero=True)],
        heatmaps,
    )
    return Picture(config.analysis, canvas.encode(), _describe(runs))


def analyze_curves(config: TrainingCurves, context: Context) -> Picture:
    """Draw the objective, its KL and the coefficient of spectral regularization.

    Raises:
        InvalidRunDirectory: a run is not there, or did not report them.
    """
    runs = read_runs(_paths(config, context), CURVES)
    panels = [
        Panel(label, {name: run[metric] for name, run in runs.items()})
        for metric, label in zip(CURVES, LABELS, strict=True)
    ]
    canvas = draw_curves("Training curves", "each point is the mean since the last", panels)
    return Picture(config.analysis, canvas.encode(), _describe(runs))


def _paths(config: RunAnalysis, context: Context) -> dict[str, Path]:
    return {run.name: context.path(run.path) for run in config.runs}


def _describe(runs: dict[str, Run]) -> dict[str, object]:
    return {
        "runs": {
            name: {metric: asdict(summarize(series)) for metric, series in run.items()}
            for name, run in runs.items()
        }
    }
