"""Rows of images with labels, in whole pixels."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from nvae_core.analysis.lettering import text_width, write

Pixels = npt.NDArray[np.uint8]

IMAGE_PIXELS = 96  # about, of the height of an image; a large one is never made smaller
LETTERS = (15, 24)  # least and greatest size of labels, in pixels
LETTERS_PER_IMAGE = 0.09  # size of labels in heights of an image, between those
TITLE_LETTERS = 1.4  # size of the title in that of labels
MARGIN = 14
GAP = 6  # pixels between images, and some more after a column that stands apart
BACKGROUND = "white"


def draw_rows(
    rows: Sequence[Pixels],
    *,
    title: str,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    corner: str = "",
    apart: int = 0,
    max_columns: int | None = None,
    magnification: int | None = None,
) -> bytes:
    """Return a PNG of rows of images, each (K, H, W, C), all of one size.

    Each pixel of an image is a square of whole pixels, and no image is made smaller.

    Args:
        corner: says above the labels of the rows what they are.
        apart: so many columns stand a little aside.
        max_columns: rows with more go on below.
        magnification: None for that of `choose_magnification`.
    """
    if magnification is None:
        magnification = choose_magnification(rows[0].shape[1])
    bands = _break(rows, column_labels, max_columns)
    layout = _lay_out(bands, title, [*row_labels, corner], apart, magnification)
    # Not by a figure: that would keep a hundred bytes for each pixel.
    canvas = Image.new("RGB", (layout.width, layout.height), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    write(draw, (MARGIN, MARGIN), title, layout.title_letters, "la")
    for band, top in zip(bands, layout.tops, strict=True):
        _label_columns(draw, layout, top, band.column_labels, corner)
        for number, (row, label) in enumerate(zip(band.rows, row_labels, strict=True)):
            row_top = top + number * (layout.image_height + GAP)
            middle = row_top + layout.image_height // 2
            write(draw, (layout.labels_right, middle), label, layout.letters, "rm")
            _paste(canvas, layout, row_top, row)
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def choose_magnification(image_size: int) -> int:
    """Return how many pixels wide each pixel of an image is drawn, so that it can be looked at."""
    return max(1, round(IMAGE_PIXELS / image_size))


@dataclass(frozen=True)
class _Band:
    """The part of all rows that stands one below the other."""

    rows: Sequence[Pixels]
    column_labels: Sequence[str]


def _break(
    rows: Sequence[Pixels], column_labels: Sequence[str], max_columns: int | None
) -> list[_Band]:
    num_columns = max(len(row) for row in rows)
    num_bands = math.ceil(num_columns / (max_columns or num_columns))
    size = math.ceil(num_columns / num_bands)  # so that they are about as long as each other
    return [
        _Band([row[start : start + size] for row in rows], column_labels[start : start + size])
        for start in range(0, num_columns, size)
    ]


@dataclass(frozen=True)
class _Layout:
    """Where images are, in pixels from the upper left corner, and how large letters are."""

    width: int
    height: int
    magnification: int
    image_height: int
    image_width: int
    letters: int
    title_letters: int
    labels_right: int  # end of the labels of rows
    lefts: Sequence[int]  # of each column's images
    tops: Sequence[int]  # of each band's images


def _lay_out(
    bands: Sequence[_Band], title: str, row_labels: Sequence[str], apart: int, magnification: int
) -> _Layout:
    height, width = (side * magnification for side in bands[0].rows[0].shape[1:3])
    letters = min(max(LETTERS[0], round(LETTERS_PER_IMAGE * height)), LETTERS[1])
    title_letters = round(TITLE_LETTERS * letters)
    labels_right = MARGIN + max(text_width(label, letters) for label in row_labels)
    labels = [label for band in bands for label in band.column_labels]
    # Labels of narrow images are wider than they.
    cell = max([width, *(text_width(label, letters) + GAP for label in labels)])
    lefts = [
        labels_right
        + letters // 2
        + column * (cell + GAP)
        + (cell - width) // 2
        + (3 * GAP if column >= apart > 0 else 0)
        for column in range(max(len(row) for row in bands[0].rows))
    ]
    above = GAP + (round(1.5 * letters) if labels else 0)
    band_height = above + len(bands[0].rows) * (height + GAP) + letters
    top = MARGIN + round(1.5 * title_letters) + above
    right = lefts[-1] + (cell + width) // 2
    return _Layout(
        width=max(right, MARGIN + text_width(title, title_letters)) + MARGIN,
        height=top + len(bands) * band_height - above - letters - GAP + MARGIN,
        magnification=magnification,
        image_height=height,
        image_width=width,
        letters=letters,
        title_letters=title_letters,
        labels_right=labels_right,
        lefts=lefts,
        tops=[top + number * band_height for number in range(len(bands))],
    )


def _label_columns(
    draw: ImageDraw.ImageDraw, layout: _Layout, top: int, labels: Sequence[str], corner: str
) -> None:
    line = top - round(0.4 * layout.letters)
    write(draw, (layout.labels_right, line), corner, layout.letters, "rs")
    for left, label in zip(layout.lefts, labels, strict=False):
        write(draw, (left + layout.image_width // 2, line), label, layout.letters, "ms")


def _paste(canvas: Image.Image, layout: _Layout, top: int, row: Pixels) -> None:
    for left, image in zip(layout.lefts, row, strict=False):
        large = image.repeat(layout.magnification, 0).repeat(layout.magnification, 1)
        single = large.shape[2] == 1
        canvas.paste(Image.fromarray(large[:, :, 0] if single else large), (left, top))
