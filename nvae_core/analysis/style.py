"""How pictures look: light, of one style and fixed sizes, and equal bytes for equal content."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

DPI = 130
WIDTH_INCHES = 9.0
INK = "#222222"
GRID = "#dddddd"
PALE = "#b6c2cf"


@contextmanager
def own_style() -> Iterator[None]:
    """Draw in our style whatever the settings of the process, or of a file, are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        # Names of jobs are no formulas: `$\\frac$` would be an error.
        matplotlib.rcParams["text.parse_math"] = False
        yield


def new_chart(height_inches: float) -> Figure:
    """Return an empty figure of the usual width."""
    return Figure(
        figsize=(WIDTH_INCHES, height_inches), dpi=DPI, facecolor="white", layout="constrained"
    )


def style_axes(axes: Axes, *, x_label: str = "", y_label: str = "") -> None:
    """Name the axes, and leave out what frames them at the top and the right."""
    axes.set_xlabel(x_label, fontsize=9, color=INK)
    axes.set_ylabel(y_label, fontsize=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, labelcolor=INK)


def whole_numbers(most: int = 10) -> MaxNLocator:
    """Return where ticks are on an axis of counts, or of steps: one is enough for one of those."""
    return MaxNLocator(most, integer=True, min_n_ticks=1, steps=[1, 2, 4, 5, 10])


def encode_figure(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # Without the name of the library, so that equal pictures are equal bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
