"""The legend of a chart: below it, whole, whatever the names are."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from nvae_core.analysis.lettering import text_width
from nvae_core.analysis.style import DPI, WIDTH_INCHES

POINTS = 8
POINTS_PER_INCH = 72
SAMPLE_PIXELS = 75  # of what stands before a name, and of the room after it
ROW_INCHES = 0.17


def add_legend(figure: Figure, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Name what is drawn, in as many columns as the longest name lets; the figure grows by it."""
    letters = round(POINTS * DPI / POINTS_PER_INCH)
    longest = max(text_width(name, letters) for name in names)
    num_columns = int(WIDTH_INCHES * DPI // (longest + SAMPLE_PIXELS))
    num_columns = min(max(1, num_columns), len(names))
    num_rows = math.ceil(len(names) / num_columns)
    figure.set_figheight(figure.get_figheight() + num_rows * ROW_INCHES)
    # Handles are given: by themselves names with `_` are hidden.
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=num_columns,
        fontsize=POINTS,
        frameon=False,
    )
