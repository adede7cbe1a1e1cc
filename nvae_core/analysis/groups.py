"""Values per latent group: bars of the last ones, and a heat map over the steps for each run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator, StrMethodFormatter

from nvae_core.analysis.legend import add_legend
from nvae_core.analysis.style import (
    GRID,
    INK,
    PALE,
    encode_figure,
    new_chart,
    own_style,
    style_axes,
    whole_numbers,
)

Value = float | None  # None where there is none, or it is not finite
MAX_COLUMNS = 500  # steps that are drawn: a heat map has not more pixels
BARS_INCHES, MAP_INCHES = 3.0, 2.5


@dataclass(frozen=True)
class GroupSeries:
    """A run's values at its steps, of each latent group, top first."""

    name: str
    steps: Sequence[int]
    values: Sequence[Sequence[Value]]  # (G, S)

    def last(self) -> list[Value]:
        """Return the last value of each group."""
        return [
            next((value for value in reversed(group) if value is not None), None)
            for group in self.values
        ]


def draw_groups(series: Sequence[GroupSeries], *, title: str, label: str) -> bytes:
    """Return a PNG of bars per latent group at the end, and of a heat map of each run."""
    with own_style():
        num_columns = min(2, len(series))
        num_rows = math.ceil(len(series) / num_columns)
        figure = new_chart(BARS_INCHES + MAP_INCHES * num_rows)
        figure.suptitle(title, fontsize=11, color=INK)
        heights = [BARS_INCHES, *[MAP_INCHES] * num_rows]
        grid = GridSpec(1 + num_rows, num_columns, figure=figure, height_ratios=heights)
        _draw_bars(figure.add_subplot(grid[0, :]), series, label)
        maps = [
            figure.add_subplot(grid[1 + place // num_columns, place % num_columns])
            for place in range(len(series))
        ]
        _draw_maps(figure, maps, series, label)
        colors = [Patch(color=f"C{place % 10}") for place in range(len(series))]
        add_legend(figure, colors, [run.name for run in series])
        return encode_figure(figure)


def _draw_bars(axes: Axes, series: Sequence[GroupSeries], label: str) -> None:
    width = 0.8 / len(series)
    for position, run in enumerate(series):
        found = [(group, value) for group, value in enumerate(run.last()) if value is not None]
        left = (position - (len(series) - 1) / 2) * width
        places, values = [group + left for group, _ in found], [value for _, value in found]
        axes.bar(places, values, width, color=f"C{position % 10}")
    num_groups = max(len(run.values) for run in series)
    axes.set_xlim(-0.6, num_groups - 0.4)
    style_axes(axes, x_label="latent group, top first; at the end", y_label=label)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(whole_numbers())
    axes.yaxis.set_major_locator(whole_numbers())


def _draw_maps(
    figure: Figure, maps: Sequence[Axes], series: Sequence[GroupSeries], label: str
) -> None:
    tables = [
        np.array(run.values, np.float64).reshape(len(run.values), len(run.steps)) for run in series
    ]
    highest = max((float(np.nanmax(t)) for t in tables if np.isfinite(t).any()), default=0.0)
    norm = Normalize(0, highest or 1.0)
    for axes, run, table in zip(maps, series, tables, strict=True):
        axes.set_title(run.name, fontsize=8, color=INK)
        axes.set_facecolor(PALE)  # where there is no value
        if table.size:
            chosen = np.unique(np.linspace(0, len(run.steps) - 1, MAX_COLUMNS).round().astype(int))
            x, y = _edges(np.array(run.steps, np.float64)[chosen]), np.arange(len(table) + 1) - 0.5
            axes.pcolormesh(x, y, np.ma.masked_invalid(table[:, chosen]), norm=norm)
            axes.invert_yaxis()  # top first
        style_axes(axes, x_label="step", y_label="latent group")
        axes.yaxis.set_major_locator(whole_numbers() if table.size else NullLocator())
        axes.xaxis.set_major_locator(whole_numbers(5) if table.size else NullLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    bar = figure.colorbar(
        ScalarMappable(norm), ax=list(maps), aspect=12 * len(maps), pad=0.01, ticks=whole_numbers()
    )
    bar.set_label(label, fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, labelcolor=INK)


def _edges(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return where the columns of steps begin and end: in the middle between them."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middles = (steps[1:] + steps[:-1]) / 2
    ends = 2 * steps[[0, -1]] - middles[[0, -1]]
    edges: npt.NDArray[np.float64] = np.concatenate([ends[:1], middles, ends[1:]])
    return edges
