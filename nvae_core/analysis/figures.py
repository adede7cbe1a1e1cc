"""Pictures of experiments: rows of images with labels, and curves; light, and of fixed sizes."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Pixels = npt.NDArray[np.uint8]

DPI = 130
WIDTH_INCHES = 9.0
GAP = 2  # pixels between images, and twice as many after a column that stands apart
BACKGROUND = 255
INK = "#222222"
GRID = "#dddddd"


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
) -> bytes:
    """Return a PNG of rows of images, each (K, H, W, C); `apart` columns stand a little aside."""
    mosaic, xs, ys = _lay_out(rows, apart)
    height, width = mosaic.shape[:2]
    figure = Figure(
        figsize=(WIDTH_INCHES, 0.9 + WIDTH_INCHES * 0.84 * height / width),
        dpi=DPI,
        layout="constrained",
    )
    axes = figure.add_subplot()
    is_gray = mosaic.shape[2] == 1
    axes.imshow(
        mosaic[:, :, 0] if is_gray else mosaic,
        cmap="gray" if is_gray else None,
        vmin=0,
        vmax=255,
        interpolation="none",
    )
    axes.set_title(title, fontsize=11, color=INK, pad=24 if column_labels else 8)
    axes.set_xticks(xs[: len(column_labels)], column_labels, fontsize=8, color=INK)
    axes.set_yticks(ys, row_labels, fontsize=8, color=INK)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return _encode(figure)


def draw_curves(panels: Mapping[str, Sequence[Curve]], *, title: str) -> bytes:
    """Return a PNG of one panel below the other, each with curves over the same steps."""
    figure = Figure(figsize=(WIDTH_INCHES, 1 + 2.4 * len(panels)), dpi=DPI, layout="constrained")
    figure.suptitle(title, fontsize=11, color=INK)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (name, curves) in zip(axes, panels.items(), strict=True):
        for curve in curves:
            panel.plot(curve.steps, curve.values, linewidth=1.4, label=curve.name)
        panel.set_ylabel(name, fontsize=9, color=INK)
        panel.grid(color=GRID, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8, labelcolor=INK)
    axes[-1].set_xlabel("step", fontsize=9, color=INK)
    handles = {curve.name for curves in panels.values() for curve in curves}
    if handles:
        axes[0].legend(fontsize=8, frameon=False, ncols=min(4, len(handles)))
    return _encode(figure)


def draw_bars(groups: Mapping[str, Sequence[float]], *, title: str, label: str) -> bytes:
    """Return a PNG of bars per latent group, top first, one series beside the other."""
    figure = Figure(figsize=(WIDTH_INCHES, 3.6), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / max(1, len(groups))
    for position, (name, values) in enumerate(groups.items()):
        places = np.arange(len(values)) + (position - (len(groups) - 1) / 2) * width
        axes.bar(places, values, width, label=name)
    axes.set_title(title, fontsize=11, color=INK)
    axes.set_xlabel("latent group, top first", fontsize=9, color=INK)
    axes.set_ylabel(label, fontsize=9, color=INK)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, frameon=False)
    return _encode(figure)


def _lay_out(rows: Sequence[Pixels], apart: int) -> tuple[Pixels, list[float], list[float]]:
    """Return all images in one, and the centres of columns and rows."""
    height, width, num_colors = rows[0].shape[1:]
    num_columns = max(len(row) for row in rows)
    lefts = [
        column * (width + GAP) + (3 * GAP if column >= apart > 0 else 0)
        for column in range(num_columns)
    ]
    tops = [row * (height + GAP) for row in range(len(rows))]
    shape = (tops[-1] + height, lefts[-1] + width, num_colors)
    mosaic = np.full(shape, BACKGROUND, np.uint8)
    for top, row in zip(tops, rows, strict=True):
        for left, image in zip(lefts, row, strict=False):
            mosaic[top : top + height, left : left + width] = image
    return (
        mosaic,
        [left + (width - 1) / 2 for left in lefts],
        [top + (height - 1) / 2 for top in tops],
    )


def _encode(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # Without the name of the library, so that equal pictures are equal bytes.
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
