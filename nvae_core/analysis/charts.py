"""Charts of one style and fixed sizes: curves, values per latent group, a histogram."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    StrMethodFormatter,
)

from nvae_core.analysis.image_grid import INK, text_width

DPI = 130
WIDTH_INCHES = 9.0
GRID = "#dddddd"
PALE = "#b6c2cf"
# From dense to sparse, in line widths: of equal curves the earlier ones show through the gaps.
DASHES: tuple[Any, ...] = ("solid", (0, (6, 3)), (0, (3, 3)), (0, (2, 4)), (0, (1, 3)))
MARK: dict[str, Any] = {"marker": "x", "linestyle": "", "markersize": 4}
MARKS_BOTTOM = 0.03  # of the height of the panel, of the marks of the first curve
MARKS_PITCH = 0.035
MAX_DRAWN = 1e200  # where axes of larger values would end is no number
LOG_RATIO = 10.0  # of the largest value to the smallest, from which an axis is logarithmic
PLAIN = (1e-3, 1e5)  # between these numbers are written without exponents
MAX_MAP_COLUMNS = 500  # steps that are drawn: a heat map has not more pixels
BARS_INCHES, MAP_INCHES = 3.0, 2.5
NUM_BINS = 40
LEGEND_POINTS = 8
LEGEND_SAMPLE_PIXELS = 75  # of what stands before a name, and of the room after it
LEGEND_ROW_INCHES = 0.17


@dataclass(frozen=True)
class Curve:
    """A line: finite values over steps; at some other steps the value was not finite."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    not_finite_steps: Sequence[int] = ()


@dataclass(frozen=True)
class GroupSeries:
    """A run's values at its steps, of each latent group, top first."""

    name: str
    steps: Sequence[int]
    values: Sequence[Sequence[float | None]]  # (G, S); None where there is none that is finite

    def last(self) -> list[float | None]:
        """Return the last value of each group."""
        return [
            next((value for value in reversed(group) if value is not None), None)
            for group in self.values
        ]


def draw_curves(panels: Mapping[str, Sequence[Curve]], *, title: str) -> bytes:
    """Return a PNG of one panel below the other, each with curves over the same steps."""
    with _chart_style():
        figure = _new_figure(0.8 + 2.4 * len(panels), title)
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for panel, (name, curves) in zip(axes, panels.items(), strict=True):
            _draw_panel(panel, name, curves)
        axes[-1].set_xlabel("step", fontsize=9, color=INK)
        _tick_steps(axes[-1])
        names = [curve.name for curve in next(iter(panels.values()), ())]
        handles = [Line2D([], [], **_line_style(position)) for position in range(len(names))]
        if any(curve.not_finite_steps for curves in panels.values() for curve in curves):
            handles.append(Line2D([], [], color=INK, **MARK))
            names.append("not finite")
        _add_legend(figure, handles, names)
        return encode_figure(figure)


def draw_groups(series: Sequence[GroupSeries], *, title: str, label: str) -> bytes:
    """Return a PNG of bars per latent group at the end, and of a heat map of each run."""
    with _chart_style():
        num_columns = min(2, len(series))
        num_rows = math.ceil(len(series) / num_columns)
        figure = _new_figure(BARS_INCHES + MAP_INCHES * num_rows, title)
        heights = [BARS_INCHES, *[MAP_INCHES] * num_rows]
        grid = GridSpec(1 + num_rows, num_columns, figure=figure, height_ratios=heights)
        _draw_bars(figure.add_subplot(grid[0, :]), series, label)
        maps = [
            figure.add_subplot(grid[1 + place // num_columns, place % num_columns])
            for place in range(len(series))
        ]
        _draw_maps(figure, maps, series, label)
        colors = [Patch(color=f"C{place % 10}") for place in range(len(series))]
        _add_legend(figure, colors, [run.name for run in series])
        return encode_figure(figure)


def draw_histogram(
    values: Sequence[float],
    marks: Sequence[float],
    *,
    title: str,
    label: str,
    names: tuple[str, str],
) -> bytes:
    """Return a PNG of a histogram, and of a mark above it at each of some values."""
    with _chart_style():
        figure = _new_figure(3.2)
        axes = figure.add_subplot()
        highest = max(*values, *marks) * 1.02 or 1.0
        counts, _, _ = axes.hist(values, bins=NUM_BINS, range=(0, highest), color=PALE)
        top = float(np.max(counts))
        # Above, and thin: many marks would hide the bars, and each other.
        axes.vlines(marks, 1.04 * top, 1.14 * top, color="C1", linewidth=1)
        axes.set_xlim(0, highest)
        axes.set_ylim(0, 1.2 * top)
        axes.set_title(title, fontsize=11, color=INK)
        _style_axes(axes, x_label=label, y_label="images")
        axes.yaxis.set_major_locator(_whole_numbers())
        mark = Line2D([], [], color="C1", marker="|", linestyle="", markersize=9)
        _add_legend(figure, [Patch(color=PALE), mark], names)
        return encode_figure(figure)


def encode_figure(figure: Figure) -> bytes:
    """Return a figure as PNG, of equal bytes for equal content."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # The name of the library would change with its version.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_panel(panel: Axes, name: str, curves: Sequence[Curve]) -> None:
    for position, curve in enumerate(curves):
        # NaN where the value was not finite: there the line breaks.
        breaks = [(step, math.nan) for step in curve.not_finite_steps]
        points = sorted([*zip(curve.steps, curve.values, strict=True), *breaks])
        steps, values = [step for step, _ in points], [value for _, value in points]
        lone = _find_lone(values)
        marks: dict[str, Any] = {"marker": "o", "markersize": 4, "markevery": lone} if lone else {}
        panel.plot(steps, np.clip(values, -MAX_DRAWN, MAX_DRAWN), **_line_style(position), **marks)
    with_breaks = [place for place, curve in enumerate(curves) if curve.not_finite_steps]
    for row, position in enumerate(with_breaks):
        steps = list(curves[position].not_finite_steps)
        heights = [MARKS_BOTTOM + row * MARKS_PITCH] * len(steps)
        color = _line_style(position)["color"]
        panel.plot(steps, heights, color=color, transform=panel.get_xaxis_transform(), **MARK)
    panel.grid(color=GRID, linewidth=0.6)
    _style_axes(panel, y_label=name)
    _choose_scale(panel, [value for curve in curves for value in curve.values])


def _find_lone(values: Sequence[float]) -> list[int]:
    """Return the places of the points that no line shows, or one too short to be seen."""
    finite = [False, *map(math.isfinite, values), False]
    return [
        place
        for place in range(len(values))
        if finite[place + 1] and (sum(finite) <= 2 or not (finite[place] or finite[place + 2]))
    ]


def _choose_scale(panel: Axes, values: Sequence[float]) -> None:
    """Let an axis be logarithmic if the values, none below 0, are far apart; 0 keeps a place."""
    if not values or min(values) < 0 or max(values) == 0:
        return
    low, high = min(value for value in values if value > 0), max(values)
    if high <= LOG_RATIO * low:
        return
    if min(values) > 0:
        panel.set_yscale("log")
        few = high < 100 * low
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    else:
        panel.set_yscale("symlog", linthresh=low)
    number = "g" if PLAIN[0] <= low and high <= PLAIN[1] else ".0e"  # one for all ticks
    panel.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _place: "0" if value == 0 else f"{value:{number}}")
    )
    panel.yaxis.set_minor_formatter(NullFormatter())


def _line_style(position: int) -> dict[str, Any]:
    dashes = DASHES[position % len(DASHES)]
    return {"color": f"C{position % 10}", "linestyle": dashes, "linewidth": 1.4}


def _draw_bars(axes: Axes, series: Sequence[GroupSeries], label: str) -> None:
    width = 0.8 / len(series)
    for position, run in enumerate(series):
        bars = [(group, value) for group, value in enumerate(run.last()) if value is not None]
        left = (position - (len(series) - 1) / 2) * width
        places, values = [group + left for group, _ in bars], [value for _, value in bars]
        axes.bar(places, values, width, color=f"C{position % 10}")
    axes.set_xlim(-0.6, max(len(run.values) for run in series) - 0.4)
    _style_axes(axes, x_label="latent group, top first; at the end", y_label=label)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(_whole_numbers())
    axes.yaxis.set_major_locator(_whole_numbers())


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
        _style_axes(axes, x_label="step", y_label="latent group")
        _tick_steps(axes, 5)
        if not table.size:
            axes.yaxis.set_major_locator(NullLocator())
            axes.xaxis.set_major_locator(NullLocator())
            continue
        last = len(run.steps) - 1
        columns = np.unique(np.linspace(0, last, MAX_MAP_COLUMNS).round().astype(int))
        x = _column_edges(np.array(run.steps, np.float64)[columns])
        y = np.arange(len(table) + 1) - 0.5
        axes.pcolormesh(x, y, np.ma.masked_invalid(table[:, columns]), norm=norm)
        axes.invert_yaxis()  # top first
        axes.yaxis.set_major_locator(_whole_numbers())
    bar = figure.colorbar(
        ScalarMappable(norm), ax=list(maps), aspect=12 * len(maps), pad=0.01, ticks=_whole_numbers()
    )
    bar.set_label(label, fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, labelcolor=INK)


def _column_edges(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return where the columns of steps begin and end: in the middle between them."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middles = (steps[1:] + steps[:-1]) / 2
    ends = 2 * steps[[0, -1]] - middles[[0, -1]]
    edges: npt.NDArray[np.float64] = np.concatenate([ends[:1], middles, ends[1:]])
    return edges


@contextmanager
def _chart_style() -> Iterator[None]:
    """Draw in our style whatever the settings of the process, or of a file, are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        # Names of jobs are no formulas: `$\\frac$` would be an error.
        matplotlib.rcParams["text.parse_math"] = False
        yield


def _new_figure(height_inches: float, title: str = "") -> Figure:
    """Return an empty figure of the usual width."""
    size = (WIDTH_INCHES, height_inches)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11, color=INK)
    return figure


def _style_axes(axes: Axes, *, x_label: str = "", y_label: str = "") -> None:
    """Name the axes, and leave out what frames them at the top and the right."""
    axes.set_xlabel(x_label, fontsize=9, color=INK)
    axes.set_ylabel(y_label, fontsize=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, labelcolor=INK)


def _whole_numbers(most: int = 10) -> MaxNLocator:
    """Return where ticks are on an axis of counts, or of steps: one is enough for one of those."""
    return MaxNLocator(most, integer=True, min_n_ticks=1, steps=[1, 2, 4, 5, 10])


def _tick_steps(axes: Axes, most: int = 10) -> None:
    axes.xaxis.set_major_locator(_whole_numbers(most))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _add_legend(figure: Figure, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Name what is drawn below the chart, whole whatever the names are; the figure grows by it."""
    letters = round(LEGEND_POINTS * DPI / 72)  # points are 1/72 inch
    longest = max(text_width(name, letters) for name in names)
    num_columns = int(WIDTH_INCHES * DPI // (longest + LEGEND_SAMPLE_PIXELS))
    num_columns = min(max(1, num_columns), len(names))
    num_rows = math.ceil(len(names) / num_columns)
    figure.set_figheight(figure.get_figheight() + num_rows * LEGEND_ROW_INCHES)
    # Handles are passed: by themselves names with `_` are hidden.
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=num_columns,
        fontsize=LEGEND_POINTS,
        frameon=False,
    )
