"""A histogram with marks."""

from collections.abc import Sequence

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nvae_core.analysis.legend import add_legend
from nvae_core.analysis.style import (
    INK,
    PALE,
    encode_figure,
    new_chart,
    own_style,
    style_axes,
    whole_numbers,
)

NUM_BINS = 40


def draw_histogram(
    values: Sequence[float],
    marks: Sequence[float],
    *,
    title: str,
    label: str,
    names: tuple[str, str],
) -> bytes:
    """Return a PNG of a histogram, and of a mark above it at each of some values."""
    with own_style():
        figure = new_chart(3.2)
        axes = figure.add_subplot()
        highest = max(*values, *marks) * 1.02 or 1.0
        counts, _, _ = axes.hist(values, bins=NUM_BINS, range=(0, highest), color=PALE)
        top = float(np.max(counts))
        # Above, and thin: many marks would hide the bars, and each other.
        axes.vlines(marks, 1.04 * top, 1.14 * top, color="C1", linewidth=1)
        axes.set_xlim(0, highest)
        axes.set_ylim(0, 1.2 * top)
        axes.set_title(title, fontsize=11, color=INK)
        style_axes(axes, x_label=label, y_label="images")
        axes.yaxis.set_major_locator(whole_numbers())
        mark = Line2D([], [], color="C1", marker="|", linestyle="", markersize=9)
        add_legend(figure, [Patch(color=PALE), mark], names)
        return encode_figure(figure)
