"""Rows of images with labels around them; every pixel of an image is a square of whole pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from nvae_core.analysis.drawing.figures import DPI, FAINT_INK, INK

Image = npt.NDArray[np.uint8]  # (H, W, C)
CELL_PIXELS = 88  # about, of one image; a large one is never made smaller
LETTER_PIXELS = 8.0  # of a label, on average and with some room
MARGIN = 16
GAP = 5
WIDE_GAP = 18
TITLE_HEIGHT = 58
COLUMN_LABEL_HEIGHT = 22
CAPTION_HEIGHT = 17


@dataclass(frozen=True)
class ImageTable:
    """Images (H, W, C) of one size in rows, and what is written around them."""

    title: str
    subtitle: str
    rows: Sequence[Sequence[Image]]
    row_labels: Sequence[str]
    column_labels: Sequence[str] = ()
    block_labels: Sequence[str] = ()  # of the columns between wide gaps
    captions: Sequence[Sequence[str]] = ()  # below each image
    wide_gaps: tuple[int, ...] = ()  # columns before which there is more room
    magnification: int | None = None  # unless given, what makes an image large enough to see


@dataclass(frozen=True)
class _Layout:
    """Where things are, in pixels from the upper left corner."""

    width: int
    height: int
    magnification: int
    lefts: Sequence[int]  # of each column
    tops: Sequence[int]  # of each row
    image_height: int
    image_width: int


def draw_image_table(table: ImageTable, *, room_below: int = 0) -> Figure:
    """Draw a table of images, with room for something else below it, in pixels."""
    layout = _lay_out(table, room_below)
    figure = Figure(figsize=(layout.width / DPI, layout.height / DPI), dpi=DPI)
    figure.figimage(_paste(table, layout), zorder=-1)  # below all that is drawn beside it
    _write(table, layout, figure)
    return figure


def _lay_out(table: ImageTable, room_below: int) -> _Layout:
    height, width = table.rows[0][0].shape[:2]
    magnification = table.magnification or max(1, round(CELL_PIXELS / height))
    height, width = height * magnification, width * magnification
    longest = max((len(label) for label in table.row_labels), default=0)
    left = MARGIN + (int(LETTER_PIXELS * longest) + 2 * GAP if longest else 0)
    lefts: list[int] = []
    for column in range(max(map(len, table.rows))):
        left += WIDE_GAP - GAP if column in table.wide_gaps else 0
        lefts.append(left)
        left += width + GAP
    has_labels = bool(table.column_labels or table.block_labels)
    top = TITLE_HEIGHT + (COLUMN_LABEL_HEIGHT if has_labels else 0)
    row_height = height + (CAPTION_HEIGHT if table.captions else 0) + GAP
    tops = [top + row_height * row for row in range(len(table.rows))]
    # The title has its room, however few the images are.
    room = int(LETTER_PIXELS * 0.85 * max(len(table.title) * 1.25, len(table.subtitle)))
    return _Layout(
        width=max(left - GAP, MARGIN + room) + MARGIN,
        height=tops[-1] + row_height + MARGIN + room_below,
        magnification=magnification,
        lefts=lefts,
        tops=tops,
        image_height=height,
        image_width=width,
    )


def _paste(table: ImageTable, layout: _Layout) -> npt.NDArray[np.uint8]:
    canvas = np.full((layout.height, layout.width, 3), 255, np.uint8)
    for top, images in zip(layout.tops, table.rows, strict=True):
        for left, image in zip(layout.lefts, images, strict=False):
            large = image.repeat(layout.magnification, axis=0).repeat(layout.magnification, axis=1)
            canvas[top : top + len(large), left : left + large.shape[1]] = large
    return canvas


def _write(table: ImageTable, layout: _Layout, figure: Figure) -> None:
    def put(x: float, y: float, text: str, **style: object) -> None:
        figure.text(x / layout.width, 1 - y / layout.height, text, **style)  # type: ignore[arg-type]

    put(MARGIN, 14, table.title, va="top", size=12, weight="bold", color=INK)
    put(MARGIN, 36, table.subtitle, va="top", size=8.5, color=FAINT_INK)
    middle_x, middle_y = layout.image_width / 2, layout.image_height / 2
    for left, label in zip(layout.lefts, table.column_labels, strict=False):
        put(left + middle_x, layout.tops[0] - 6, label, ha="center", va="bottom", size=9)
    starts = (0, *table.wide_gaps)
    for start, label in zip(starts, table.block_labels, strict=False):
        put(layout.lefts[start], layout.tops[0] - 6, label, va="bottom", size=9)
    for top, label in zip(layout.tops, table.row_labels, strict=True):
        put(layout.lefts[0] - 9, top + middle_y, label, ha="right", va="center", size=9)
    for top, captions in zip(layout.tops, table.captions, strict=False):
        for left, caption in zip(layout.lefts, captions, strict=False):
            below = top + layout.image_height + 3
            put(left + middle_x, below, caption, ha="center", va="top", size=7, color=FAINT_INK)
