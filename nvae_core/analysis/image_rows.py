"""Rows of images with labels, in whole pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from nvae_core.analysis.style import DPI, INK, encode_figure, own_style

Pixels = npt.NDArray[np.uint8]

IMAGE_PIXELS = 96  # about, of the height of an image; a large one is never made smaller
LETTER_PIXELS = 8.5  # of a label, on average and with some room
MARGIN = 14
GAP = 6  # pixels between images, and some more after a column that stands apart
TITLE_PIXELS = 48
LABEL_PIXELS = 20
LOG_RATIO = 10.0  # of the largest value to the smallest, from which an axis is logarithmic
BACKGROUND = 255


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
    with own_style():
        size = (layout.width / DPI, layout.height / DPI)
        figure = Figure(figsize=size, dpi=DPI, facecolor="white")
        figure.figimage(_paste(rows, layout), zorder=-1)
        _write(figure, layout, title, row_labels, column_labels)
        return encode_figure(figure)


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
