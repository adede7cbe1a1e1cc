"""Curves over steps, one panel below the other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

from nvae_core.analysis.legend import add_legend
from nvae_core.analysis.scales import choose_scale
from nvae_core.analysis.style import (
    GRID,
    INK,
    encode_figure,
    new_chart,
    own_style,
    style_axes,
    whole_numbers,
)

# From dense to sparse, in line widths: of equal curves the earlier ones show through the gaps.
DASHES: tuple[Any, ...] = ("solid", (0, (6, 3)), (0, (3, 3)), (0, (2, 4)), (0, (1, 3)))
MARK: dict[str, Any] = {"marker": "x", "linestyle": "", "markersize": 4}
MAX_DRAWN = 1e200  # where axes of larger values would end is no number
MARKS_BOTTOM = 0.03  # of the height of the panel, of the marks of the first curve
MARKS_PITCH = 0.035


@dataclass(frozen=True)
class Curve:
    """A line: finite values over steps; at some other steps the value was not finite."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    not_finite_steps: Sequence[int] = ()

    def points(self) -> list[tuple[int, float]]:
        """Return all points by step, with NaN for what was not finite: there the line breaks."""
        broken = [(step, math.nan) for step in self.not_finite_steps]
        return sorted([*zip(self.steps, self.values, strict=True), *broken])


def draw_curves(panels: Mapping[str, Sequence[Curve]], *, title: str) -> bytes:
    """Return a PNG of one panel below the other, each with curves over the same steps."""
    with own_style():
        figure = new_chart(0.8 + 2.4 * len(panels))
        figure.suptitle(title, fontsize=11, color=INK)
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for panel, (name, curves) in zip(axes, panels.items(), strict=True):
            _draw_panel(panel, name, curves)
        axes[-1].set_xlabel("step", fontsize=9, color=INK)
        axes[-1].xaxis.set_major_locator(whole_numbers())
        axes[-1].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        names = [curve.name for curve in next(iter(panels.values()), ())]
        handles = [Line2D([], [], **_style(position)) for position in range(len(names))]
        if any(curve.not_finite_steps for curves in panels.values() for curve in curves):
            handles.append(Line2D([], [], color=INK, **MARK))
            names.append("not finite")
        add_legend(figure, handles, names)
        return encode_figure(figure)


def _draw_panel(panel: Axes, name: str, curves: Sequence[Curve]) -> None:
    for position, curve in enumerate(curves):
        points = curve.points()
        steps, values = [step for step, _ in points], [value for _, value in points]
        lone = _find_lone(values)
        marks: dict[str, Any] = {"marker": "o", "markersize": 4, "markevery": lone} if lone else {}
        panel.plot(steps, np.clip(values, -MAX_DRAWN, MAX_DRAWN), **_style(position), **marks)
    _mark_not_finite(panel, curves)
    panel.grid(color=GRID, linewidth=0.6)
    style_axes(panel, y_label=name)
    choose_scale(panel, [value for curve in curves for value in curve.values])


def _style(position: int) -> dict[str, Any]:
    dashes = DASHES[position % len(DASHES)]
    return {"color": f"C{position % 10}", "linestyle": dashes, "linewidth": 1.4}


def _find_lone(values: Sequence[float]) -> list[int]:
    """Return the places of the points that no line shows, or one too short to be seen."""
    finite = [False, *map(math.isfinite, values), False]
    return [
        place
        for place in range(len(values))
        if finite[place + 1] and (sum(finite) <= 2 or not (finite[place] or finite[place + 2]))
    ]


def _mark_not_finite(panel: Axes, curves: Sequence[Curve]) -> None:
    positions = [place for place, curve in enumerate(curves) if curve.not_finite_steps]
    for row, position in enumerate(positions):
        steps = curves[position].not_finite_steps
        heights = [MARKS_BOTTOM + row * MARKS_PITCH] * len(steps)
        color = _style(position)["color"]
        panel.plot(steps, heights, color=color, transform=panel.get_xaxis_transform(), **MARK)
