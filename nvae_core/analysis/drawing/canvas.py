"""A figure that is laid out in pixels, from the top left, so that images keep theirs."""

import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nvae_core.data.streams import Images

DPI = 144
INK = "#1f2328"
FAINT_INK = "#59636e"
LINE = "#d1d9e0"
# Okabe and Ito's, which the colour-blind can tell apart.
COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#8c6d31",
)

Align = Literal["left", "center", "right"]


class Canvas:
    """A light page of so many pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        size = (width / DPI, height / DPI)
        self.figure = Figure(figsize=size, dpi=DPI, facecolor="white")
        FigureCanvasAgg(self.figure)

    def image(self, pixels: Images, *, left: int, top: int, zoom: int) -> None:
        """Put an image (H, W, C) there, each of its pixels as a square of so many."""
        enlarged = pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)
        colored = np.broadcast_to(enlarged, (*enlarged.shape[:2], 3))
        self.figure.figimage(colored, left, self.height - top - len(colored), origin="upper")

    def text(
        self,
        text: str,
        *,
        left: float,
        top: float,
        size: float = 8,
        color: str = INK,
        align: Align = "left",
        bold: bool = False,
    ) -> None:
        """Write lines whose middle is at `top`."""
        self.figure.text(
            left / self.width,
            1 - top / self.height,
            text,
            fontsize=size,
            color=color,
            ha=align,
            va="center_baseline",
            fontweight="bold" if bold else "normal",
            linespacing=1.35,
            parse_math=False,  # names are people's
        )

    def axes(self, *, left: int, top: int, width: int, height: int) -> Axes:
        """Return axes there, whose labels lie outside of that area."""
        area = (
            left / self.width,
            1 - (top + height) / self.height,
            width / self.width,
            height / self.height,
        )
        axes = self.figure.add_axes(area)
        axes.set_facecolor("white")
        axes.grid(color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        for side, spine in axes.spines.items():
            spine.set_visible(side in {"left", "bottom"})
            spine.set_color(FAINT_INK)
        axes.tick_params(colors=FAINT_INK, labelsize=7.5, length=3)
        return axes

    def legend(self, names: Sequence[str], *, left: int, top: int, step: int) -> None:
        """Name the lines by their colours, one below the other."""
        for index, name in enumerate(names):
            middle = top + index * step
            self.text("■", left=left, top=middle, size=9, color=COLORS[index])
            self.text(name, left=left + 22, top=middle, size=8)

    def encode(self) -> bytes:
        """Return it as PNG; its bytes depend on nothing but what was drawn."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        return buffer.getvalue()
