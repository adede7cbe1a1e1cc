"""Curves of runs, one line per run and one panel per metric, over the same steps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from nvae_core.analysis.drawing.figures import LINE_COLORS, LINE_STYLES

WIDTH_INCHES = 8.0
PANEL_INCHES = 2.3
SINGLE_PANEL_INCHES = 3.6
LOG_RATIO = 10.0  # of the largest value to the smallest, above which the axis is logarithmic


@dataclass(frozen=True)
class Line:
    """The values of one metric of one run, by step."""

    steps: Sequence[int]
    values: Sequence[float]


def draw_curves(title: str, panels: Mapping[str, Sequence[Line]], names: Sequence[str]) -> Figure:
    """Draw panels by label of their axis; each has the line of each run, in the order of names."""
    panel_inches = SINGLE_PANEL_INCHES if len(panels) == 1 else PANEL_INCHES
    legend_inches = 0.6 + 0.2 * math.ceil(len(names) / 3)
    figure = Figure(
        figsize=(WIDTH_INCHES, panel_inches * len(panels) + legend_inches), layout="constrained"
    )
    figure.suptitle(title, x=0.02, ha="left", size=12, weight="bold")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    drawn: list[Line2D] = []
    for ax, (label, lines) in zip(axes, panels.items(), strict=True):
        drawn = _draw_panel(ax, label, lines)
    axes[-1].set_xlabel("step")
    axes[-1].set_xlim(left=0)
    axes[-1].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes[-1].xaxis.set_major_locator(MaxNLocator(8, integer=True))
    figure.legend(drawn, names, loc="outside lower left", ncols=3, frameon=False)
    return figure


def _draw_panel(ax: Axes, label: str, lines: Sequence[Line]) -> list[Line2D]:
    drawn: list[Line2D] = []
    for index, line in enumerate(lines):
        color = LINE_COLORS[index % len(LINE_COLORS)]
        style = LINE_STYLES[index // len(LINE_COLORS)]
        marker = "o" if len(line.steps) == 1 else ""
        drawn += ax.plot(
            line.steps, line.values, color=color, linestyle=style, marker=marker, linewidth=1.4
        )
    ax.set_ylabel(label)
    values = [value for line in lines for value in line.values if math.isfinite(value)]
    if values and min(values) > 0 and max(values) > LOG_RATIO * min(values):
        _make_logarithmic(ax, decades=math.log10(max(values) / min(values)))
    return drawn


def _make_logarithmic(ax: Axes, *, decades: float) -> None:
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.0 else (1.0,)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
