"""Charts: curves over steps, bars per latent group, and a histogram with marks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from nvae_core.analysis.style import (
    GRID,
    INK,
    LEGEND,
    PALE,
    encode_figure,
    new_chart,
    own_style,
    style_axes,
)

LOG_RATIO = 10.0  # of the largest value to the smallest, from which an axis is logarithmic
NUM_BINS = 40


@dataclass(frozen=True)
class Curve:
    """A line: values over steps."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]


def draw_curves(panels: Mapping[str, Sequence[Curve]], *, title: str) -> bytes:
    """Return a PNG of one panel below the other, each with curves over the same steps."""
    with own_style():
        figure = new_chart(1 + 2.4 * len(panels))
        figure.suptitle(title, fontsize=11, color=INK)
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for panel, (name, curves) in zip(axes, panels.items(), strict=True):
            _draw_panel(panel, name, curves)
        axes[-1].set_xlabel("step", fontsize=9, color=INK)
        axes[-1].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        names = [curve.name for curve in next(iter(panels.values()), ())]
        # Below, and not over the lines. Handles are given: by themselves names with `_` are hidden.
        figure.legend(axes[0].get_lines(), names, loc="outside lower center", ncols=4, **LEGEND)
        return encode_figure(figure)


def _draw_panel(panel: Axes, name: str, curves: Sequence[Curve]) -> None:
    for curve in curves:
        panel.plot(curve.steps, curve.values, linewidth=1.4)
    panel.grid(color=GRID, linewidth=0.6)
    style_axes(panel, y_label=name)
    values = [value for curve in curves for value in curve.values]
    if values and min(values) > 0 and max(values) > LOG_RATIO * min(values):
        panel.set_yscale("log")
        few = max(values) < 100 * min(values)
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())


def draw_bars(groups: Mapping[str, Sequence[float]], *, title: str, label: str) -> bytes:
    """Return a PNG of bars per latent group, top first, one series beside the other."""
    with own_style():
        figure = new_chart(3.6)
        axes = figure.add_subplot()
        width = 0.8 / max(1, len(groups))
        colors = [f"C{position % 10}" for position in range(len(groups))]
        for position, values in enumerate(groups.values()):
            places = np.arange(len(values)) + (position - (len(groups) - 1) / 2) * width
            axes.bar(places, values, width, color=colors[position])
        axes.set_title(title, fontsize=11, color=INK)
        style_axes(axes, x_label="latent group, top first", y_label=label)
        axes.grid(axis="y", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend([Patch(color=color) for color in colors], list(groups), **LEGEND)
        return encode_figure(figure)


def draw_histogram(
    values: Sequence[float], marks: Sequence[float], *, title: str, names: tuple[str, str]
) -> bytes:
    """Return a PNG of a histogram, with a line above it at each mark; both are named."""
    with own_style():
        figure = new_chart(3.2)
        axes = figure.add_subplot()
        highest = max(*values, *marks) * 1.02 or 1.0
        counts, _, _ = axes.hist(values, bins=NUM_BINS, range=(0, highest), color=PALE)
        top = 1.08 * float(np.max(counts))
        axes.vlines(marks, 0, top, color="C1", linewidth=1)
        axes.plot(marks, [top] * len(marks), "v", color="C1", markersize=5)
        axes.set_xlim(0, highest)
        axes.set_ylim(0, 1.1 * top)
        axes.set_title(title, fontsize=11, color=INK)
        style_axes(axes, y_label="images")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        patches = [Patch(color=PALE), Patch(color="C1")]
        figure.legend(patches, names, loc="outside lower center", ncols=2, **LEGEND)
        return encode_figure(figure)
