"""What all pictures have in common: colours, letters, and bytes that depend on nothing else."""

import io
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
from matplotlib.figure import Figure

DPI = 120
INK = "#262626"
FAINT_INK = "#6e6e6e"
PAPER = "#ffffff"
GRID = "#e6e6e6"
# Of Okabe and Ito, told apart by people who see fewer colours; the darkest ones first.
LINE_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
LINE_STYLES = ("-", "--", ":")

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8.5,
    "text.color": INK,
    "axes.edgecolor": FAINT_INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": FAINT_INK,
    "ytick.color": FAINT_INK,
    "figure.facecolor": PAPER,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
}

P = ParamSpec("P")


def render(draw: Callable[P, Figure], *args: P.args, **kwargs: P.kwargs) -> bytes:
    """Draw a figure in our style and return it as PNG.

    Equal figures give equal bytes: neither the version of the library nor a file of settings on
    this machine has a part in them.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]  # its keys are too many
        buffer = io.BytesIO()
        draw(*args, **kwargs).savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()
