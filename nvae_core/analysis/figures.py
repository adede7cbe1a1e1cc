"""Pictures of experiments: rows of images with labels, and curves; light, and of fixed sizes."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

Pixels = npt.NDArray[np.uint8]

DPI = 130
WIDTH_INCHES = 9.0
IMAGE_PIXELS = 96  # about, of the height of an image; a large one is never made smaller
LETTER_PIXELS = 8.5  # of a label, on average and with some room
MARGIN = 14
GAP = 6  # pixels between images, and some more after a column that stands apart
TITLE_PIXELS = 48
LABEL_PIXELS = 20
LOG_RATIO = 10.0  # of the largest value to the smallest, from which an axis is logarithmic
BACKGROUND = 255
INK = "#222222"
GRID = "#dddddd"
PALE = "#b6c2cf"
NUM_BINS = 40
LEGEND: dict[str, Any] = {"fontsize": 8, "frameon": False}


@dataclass(frozen=True)
class Curve:
    """A line: values over steps."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]


def draw_rows(
    rows: Sequence[Pixels],
    *,
    title: str,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    apart: int = 0,
    image_size: int | None = None,
) -> bytes:
    """Return a PNG of rows of images, each (K, H, W, C); `apart` columns stand a little aside.

    Each pixel of an image is a square of whole pixels, and no image is made smaller. `image_size`
    is that of the images within each of the given ones, where those are grids.
    """
    magnification = max(1, round(IMAGE_PIXELS / (image_size or rows[0].shape[1])))
    layout = _lay_out(
        rows, title, row_labels, column_labels, apart=apart, magnification=magnification
    )
    with _own_style():
        size = (layout.width / DPI, layout.height / DPI)
        figure = Figure(figsize=size, dpi=DPI, facecolor="white")
        figure.figimage(_paste(rows, layout), zorder=-1)
        _write(figure, layout, title, row_labels, column_labels)
        return _encode(figure)


def draw_curves(panels: Mapping[str, Sequence[Curve]], *, title: str) -> bytes:
    """Return a PNG of one panel below the other, each with curves over the same steps."""
    with _own_style():
        figure = Figure(
            figsize=(WIDTH_INCHES, 1 + 2.4 * len(panels)),
            dpi=DPI,
            facecolor="white",
            layout="constrained",
        )
        figure.suptitle(title, fontsize=11, color=INK)
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for panel, (name, curves) in zip(axes, panels.items(), strict=True):
            _draw_panel(panel, name, curves)
        axes[-1].set_xlabel("step", fontsize=9, color=INK)
        axes[-1].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        names = [curve.name for curve in next(iter(panels.values()), ())]
        # Below, and not over the lines. Handles are given: by themselves names with `_` are hidden.
        figure.legend(axes[0].get_lines(), names, loc="outside lower center", ncols=4, **LEGEND)
        return _encode(figure)


def _draw_panel(panel: Axes, name: str, curves: Sequence[Curve]) -> None:
    for curve in curves:
        panel.plot(curve.steps, curve.values, linewidth=1.4)
    panel.set_ylabel(name, fontsize=9, color=INK)
    panel.grid(color=GRID, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8, labelcolor=INK)
    values = [value for curve in curves for value in curve.values]
    if values and min(values) > 0 and max(values) > LOG_RATIO * min(values):
        panel.set_yscale("log")
        few = max(values) < 100 * min(values)
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())


def draw_bars(groups: Mapping[str, Sequence[float]], *, title: str, label: str) -> bytes:
    """Return a PNG of bars per latent group, top first, one series beside the other."""
    with _own_style():
        figure = Figure(
            figsize=(WIDTH_INCHES, 3.6), dpi=DPI, facecolor="white", layout="constrained"
        )
        axes = figure.add_subplot()
        width = 0.8 / max(1, len(groups))
        colors = [f"C{position % 10}" for position in range(len(groups))]
        for position, values in enumerate(groups.values()):
            places = np.arange(len(values)) + (position - (len(groups) - 1) / 2) * width
            axes.bar(places, values, width, color=colors[position])
        axes.set_title(title, fontsize=11, color=INK)
        axes.set_xlabel("latent group, top first", fontsize=9, color=INK)
        axes.set_ylabel(label, fontsize=9, color=INK)
        axes.grid(axis="y", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=8, labelcolor=INK)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend([Patch(color=color) for color in colors], list(groups), **LEGEND)
        return _encode(figure)


def draw_histogram(
    values: Sequence[float], marks: Sequence[float], *, title: str, names: tuple[str, str]
) -> bytes:
    """Return a PNG of a histogram, with a line above it at each mark; both are named."""
    with _own_style():
        figure = Figure(
            figsize=(WIDTH_INCHES, 3.2), dpi=DPI, facecolor="white", layout="constrained"
        )
        axes = figure.add_subplot()
        highest = max(*values, *marks) * 1.02 or 1.0
        counts, _, _ = axes.hist(values, bins=NUM_BINS, range=(0, highest), color=PALE)
        top = 1.08 * float(np.max(counts))
        axes.vlines(marks, 0, top, color="C1", linewidth=1)
        axes.plot(marks, [top] * len(marks), "v", color="C1", markersize=5)
        axes.set_xlim(0, highest)
        axes.set_ylim(0, 1.1 * top)
        axes.set_title(title, fontsize=11, color=INK)
        axes.set_ylabel("images", fontsize=9, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, labelcolor=INK)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        patches = [Patch(color=PALE), Patch(color="C1")]
        figure.legend(patches, names, loc="outside lower center", ncols=2, **LEGEND)
        return _encode(figure)


@dataclass(frozen=True)
class _Layout:
    """Where images are, in pixels from the upper left corner."""

    width: int
    height: int
    magnification: int
    lefts: Sequence[int]  # of each column
    tops: Sequence[int]  # of each row
    image_height: int
    image_width: int


def _lay_out(
    rows: Sequence[Pixels],
    title: str,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    *,
    apart: int,
    magnification: int,
) -> _Layout:
    height, width = (side * magnification for side in rows[0].shape[1:3])
    num_columns = max(len(row) for row in rows)
    first = MARGIN + max(int(LETTER_PIXELS * len(label)) for label in row_labels)
    lefts = [
        first + column * (width + GAP) + (3 * GAP if column >= apart > 0 else 0)
        for column in range(num_columns)
    ]
    top = TITLE_PIXELS + (LABEL_PIXELS if column_labels else 0)
    tops = [top + row * (height + GAP) for row in range(len(rows))]
    return _Layout(
        width=max(lefts[-1] + width, MARGIN + int(1.3 * LETTER_PIXELS * len(title))) + MARGIN,
        height=tops[-1] + height + MARGIN,
        magnification=magnification,
        lefts=lefts,
        tops=tops,
        image_height=height,
        image_width=width,
    )


def _paste(rows: Sequence[Pixels], layout: _Layout) -> Pixels:
    canvas = np.full((layout.height, layout.width, 3), BACKGROUND, np.uint8)
    for top, row in zip(layout.tops, rows, strict=True):
        for left, image in zip(layout.lefts, row, strict=False):
            large = image.repeat(layout.magnification, 0).repeat(layout.magnification, 1)
            canvas[top : top + large.shape[0], left : left + large.shape[1]] = large
    return canvas


def _write(
    figure: Figure,
    layout: _Layout,
    title: str,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
) -> None:
    def put(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / layout.width, 1 - y / layout.height, text, color=INK, **style)

    put(MARGIN, MARGIN, title, va="top", fontsize=11)
    for left, label in zip(layout.lefts, column_labels, strict=False):
        middle = left + layout.image_width / 2
        put(middle, layout.tops[0] - 6, label, ha="center", va="bottom", fontsize=8)
    for top, label in zip(layout.tops, row_labels, strict=True):
        middle = top + layout.image_height / 2
        put(layout.lefts[0] - 8, middle, label, ha="right", va="center", fontsize=8)


@contextmanager
def _own_style() -> Iterator[None]:
    """Draw in our style whatever the settings of the process, or of a file, are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        # Names of jobs are no formulas: `$\\frac$` would be an error.
        matplotlib.rcParams["text.parse_math"] = False
        yield


def _encode(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # Without the name of the library, so that equal pictures are equal bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
