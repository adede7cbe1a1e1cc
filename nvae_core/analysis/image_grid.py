"""Rows of images with labels, in whole pixels."""

import io
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Pixels = npt.NDArray[np.uint8]

IMAGE_PIXELS = 96  # about, of the height of an image; a large one is never made smaller
LETTERS = (15, 24)  # least and greatest size of labels, in pixels
LETTERS_PER_IMAGE = 0.09  # size of labels in heights of an image, between those
TITLE_LETTERS = 1.4  # size of the title in that of labels
MARGIN = 14
GAP = 6  # pixels between images, and some more after a column that stands apart
INK = "#222222"
FONT_PATH = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


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
        corner: heading of the row labels.
        apart: so many columns stand a little aside.
        max_columns: rows with more go on below.
        magnification: None for that of `choose_magnification`.
    """
    if magnification is None:
        magnification = choose_magnification(rows[0].shape[1])
    height, width = (side * magnification for side in rows[0].shape[1:3])
    letters = min(max(LETTERS[0], round(LETTERS_PER_IMAGE * height)), LETTERS[1])
    title_letters = round(TITLE_LETTERS * letters)
    bands = _split_columns(max(len(row) for row in rows), max_columns)
    labels_right = MARGIN + max(text_width(label, letters) for label in [*row_labels, corner])
    # Labels of narrow images are wider than they.
    cell = max([width, *(text_width(label, letters) + GAP for label in column_labels)])
    first_left = labels_right + letters // 2 + (cell - width) // 2
    asides = [3 * GAP if column >= apart > 0 else 0 for column in range(bands[0].stop)]
    lefts = [first_left + column * (cell + GAP) + aside for column, aside in enumerate(asides)]
    right = max(lefts[-1] + (cell + width) // 2, MARGIN + text_width(title, title_letters))
    above = GAP + (round(1.5 * letters) if column_labels else 0)
    top = MARGIN + round(1.5 * title_letters) + above
    band_height = len(rows) * (height + GAP) + letters + above
    bottom = top + len(bands) * band_height - above - letters - GAP
    # Not by a figure: that would keep a hundred bytes for each pixel.
    canvas = Image.new("RGB", (right + MARGIN, bottom + MARGIN), "white")
    _write(canvas, (MARGIN, MARGIN), title, title_letters, "la")
    for band in bands:
        baseline = top - round(0.4 * letters)
        _write(canvas, (labels_right, baseline), corner, letters, "rs")
        for left, label in zip(lefts, column_labels[band], strict=False):
            _write(canvas, (left + width // 2, baseline), label, letters, "ms")
        for number, (row, label) in enumerate(zip(rows, row_labels, strict=True)):
            row_top = top + number * (height + GAP)
            _write(canvas, (labels_right, row_top + height // 2), label, letters, "rm")
            for left, image in zip(lefts, row[band], strict=False):
                large = image.repeat(magnification, 0).repeat(magnification, 1)
                single = large.shape[2] == 1
                canvas.paste(Image.fromarray(large[:, :, 0] if single else large), (left, row_top))
        top += band_height
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def choose_magnification(image_size: int) -> int:
    """Return how many pixels wide each pixel of an image is drawn, so that it can be looked at."""
    return max(1, round(IMAGE_PIXELS / image_size))


def text_width(text: str, size: int) -> int:
    """Return the width of a line of text, in pixels, as is its size."""
    return round(_font(size).getlength(text))


def _write(canvas: Image.Image, place: tuple[int, int], text: str, size: int, anchor: str) -> None:
    """Write a line of text, the point of it that Pillow calls `anchor` at a place."""
    ImageDraw.Draw(canvas).text(place, text, fill=INK, font=_font(size), anchor=anchor)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # The other layout needs a library that not every machine has.
    return ImageFont.truetype(str(FONT_PATH), size, layout_engine=ImageFont.Layout.BASIC)


def _split_columns(num_columns: int, max_columns: int | None) -> list[slice]:
    """Return the columns of each band, the parts of all rows that stand one below the other."""
    num_bands = math.ceil(num_columns / (max_columns or num_columns))
    size = math.ceil(num_columns / num_bands)  # so that they are about as long as each other
    return [slice(start, start + size) for start in range(0, num_columns, size)]
