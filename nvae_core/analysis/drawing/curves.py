"""Curves of several runs below each other, over the same steps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from nvae_core.analysis.drawing.canvas import COLORS, FAINT_INK, INK, Canvas
from nvae_core.analysis.drawing.image_rows import MARGIN, TITLE_HEIGHT, draw_title
from nvae_core.analysis.series import Series

PAGE_WIDTH = 1180
LEFT = 110
PANEL_HEIGHT = 250
PANEL_GAP = 46
LEGEND_STEP = 24
AXIS_HEIGHT = 70
MIN_LOGARITHMIC = 4  # ratio of the highest to the lowest value from which an axis is so


@dataclass(frozen=True)
class Panel:
    """One quantity of all runs."""

    label: str
    series: Mapping[str, Series]  # by run
    is_from_zero: bool = False  # else it may be drawn on a logarithmic axis


@dataclass(frozen=True)
class Heatmap:
    """One quantity of each group of one run, top first."""

    label: str
    groups: Sequence[Series]


def draw_curves(
    title: str, subtitle: str, panels: Sequence[Panel], heatmaps: Sequence[Heatmap] = ()
) -> Canvas:
    """Draw panels below each other, then the heat maps."""
    names = list(panels[0].series)
    last_step = max(series.steps[-1] for panel in panels for series in panel.series.values())
    legend_height = len(names) * LEGEND_STEP
    top = TITLE_HEIGHT - 6 + legend_height + 34
    num_areas = len(panels) + len(heatmaps)
    height = top + num_areas * (PANEL_HEIGHT + PANEL_GAP) - PANEL_GAP + AXIS_HEIGHT
    canvas = Canvas(PAGE_WIDTH, height)
    draw_title(canvas, title, subtitle)
    canvas.legend(names, left=MARGIN, top=TITLE_HEIGHT - 6 + 10, step=LEGEND_STEP)
    # One scale for all runs, so that they can be compared.
    highest = max((v for heat in heatmaps for s in heat.groups for v in s.values), default=1)
    for index in range(num_areas):
        axes = canvas.axes(left=LEFT, top=top, width=PAGE_WIDTH - LEFT - 96, height=PANEL_HEIGHT)
        if index < len(panels):
            _fill_panel(axes, panels[index])
        else:
            _fill_heatmap(canvas, axes, heatmaps[index - len(panels)], top=top, highest=highest)
        axes.set_xlim(0, max(1, last_step))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if index == num_areas - 1:
            axes.set_xlabel("step", fontsize=8, color=INK)
        else:
            axes.xaxis.set_major_formatter(NullFormatter())
        top += PANEL_HEIGHT + PANEL_GAP
    return canvas


def _fill_panel(axes: Axes, panel: Panel) -> None:
    values: list[float] = []
    for index, series in enumerate(panel.series.values()):
        marker = "o" if len(series.steps) == 1 else None  # a line needs two
        axes.plot(
            series.steps,
            [value if math.isfinite(value) else math.nan for value in series.values],
            color=COLORS[index],
            linewidth=1.4,
            marker=marker,
            markersize=4,
        )
        values += [value for value in series.values if math.isfinite(value)]
    can_be_logarithmic = values and min(values) > 0 and not panel.is_from_zero
    if can_be_logarithmic and max(values) > MIN_LOGARITHMIC * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif values and min(values) >= 0:
        axes.set_ylim(0, 1.08 * max(values) or 1)
    axes.set_title(panel.label, fontsize=9, color=INK, loc="left")


def _fill_heatmap(
    canvas: Canvas, axes: Axes, heatmap: Heatmap, *, top: int, highest: float
) -> None:
    steps = sorted({step for series in heatmap.groups for step in series.steps})
    position = {step: index for index, step in enumerate(steps)}
    values = np.full((len(heatmap.groups), len(steps)), np.nan)
    for row, series in enumerate(heatmap.groups):
        values[row, [position[step] for step in series.steps]] = series.values
    # Each column reaches from the step of the report before it to its own.
    edges = (
        np.array([min(0, steps[0]), *steps]) if steps[0] > 0 else np.array([*steps, steps[-1] + 1])
    )
    rows = np.arange(len(heatmap.groups) + 1) - 0.5
    axes.grid(visible=False)
    mesh = axes.pcolormesh(
        edges, rows, values, cmap="viridis", vmin=0, vmax=highest, shading="flat"
    )
    axes.invert_yaxis()
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_ylabel("group, top first", fontsize=8, color=INK)
    axes.set_title(heatmap.label, fontsize=9, color=INK, loc="left")
    area = (1 - 76 / PAGE_WIDTH, 1 - (top + PANEL_HEIGHT) / canvas.height)
    bar = canvas.figure.add_axes((*area, 14 / PAGE_WIDTH, PANEL_HEIGHT / canvas.height))
    canvas.figure.colorbar(mesh, cax=bar, ticks=MaxNLocator(integer=True, nbins=6))
    bar.tick_params(colors=FAINT_INK, labelsize=7, length=2)
