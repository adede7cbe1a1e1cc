"""What several runs reported, side by side (Fig. 10 and 11)."""

from collections.abc import Mapping, Sequence

from nvae_core.analysis.curves import Curve, draw_curves
from nvae_core.analysis.groups import draw_groups
from nvae_core.analysis.pictures import Picture
from nvae_core.analysis.run_series import RunSeries
from nvae_core.config import ACTIVE_CHANNELS, CURVES, ActiveChannels, TrainingCurves

LABELS = ("loss (nats)", "−ELBO (nats)", "KL (nats)", "λ")


def show_training_curves(_: TrainingCurves, runs: Sequence[RunSeries]) -> Picture:
    """Show loss, −ELBO, which λ is no part of, KL and λ over the steps."""
    curves = {
        label: [run.curve(name) for run in runs] for name, label in zip(CURVES, LABELS, strict=True)
    }
    png = draw_curves(curves, title="Training, run by run")
    return Picture("training_curves", png, _read_lines(runs) | {"curves": _numbers(curves)})


def show_active_channels(_: ActiveChannels, runs: Sequence[RunSeries]) -> list[Picture]:
    """Show how many channels are active over the steps, in total and in each group."""
    over_steps = {"active latent channels": [run.curve(ACTIVE_CHANNELS) for run in runs]}
    png = draw_curves(over_steps, title="Active latent channels during training")
    total = Picture("active_channels", png, _read_lines(runs) | {"curves": _numbers(over_steps)})
    series = [run.groups() for run in runs]
    if not any(run.values for run in series):
        return [total]
    png = draw_groups(series, title="Active channels of latent groups", label="active channels")
    numbers = _read_lines(runs) | {
        "groups": {run.name: run.last() for run in series},
        "series": [{"name": run.name, "steps": run.steps, "groups": run.values} for run in series],
    }
    return [total, Picture("active_channels_per_group", png, numbers)]


def _read_lines(runs: Sequence[RunSeries]) -> dict[str, object]:
    return {"runs": [{"name": run.name, "lines_sha256": run.lines_sha256} for run in runs]}


def _numbers(panels: Mapping[str, Sequence[Curve]]) -> dict[str, object]:
    return {
        label: [
            {
                "name": curve.name,
                "steps": list(curve.steps),
                "values": list(curve.values),
                "not_finite_steps": list(curve.not_finite_steps),
            }
            for curve in curves
        ]
        for label, curves in panels.items()
    }
