"""Rows of images with labels, in whole pixels."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
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
    bands = _split_columns(max(len(row) for row in rows), max_columns)
    layout = _lay_out(
        rows,
        bands,
        magnification=magnification,
        title=title,
        row_labels=[*row_labels, corner],
        column_labels=column_labels,
        apart=apart,
    )
    # Not by a figure: that would keep a hundred bytes for each pixel.
    canvas = Image.new("RGB", (layout.width, layout.height), "white")
    draw = ImageDraw.Draw(canvas)

    def write(x: int, y: int, text: str, anchor: str, size: int = layout.letters) -> None:
        draw.text((x, y), text, fill=INK, font=_font(size), anchor=anchor)

    write(MARGIN, MARGIN, title, "la", layout.title_letters)
    for band, top in zip(bands, layout.tops, strict=True):
        baseline = top - round(0.4 * layout.letters)
        write(layout.labels_right, baseline, corner, "rs")
        for left, label in zip(layout.lefts, column_labels[band], strict=False):
            write(left + layout.image_width // 2, baseline, label, "ms")
        for number, (row, label) in enumerate(zip(rows, row_labels, strict=True)):
            row_top = top + number * (layout.image_height + GAP)
            write(layout.labels_right, row_top + layout.image_height // 2, label, "rm")
            for left, image in zip(layout.lefts, row[band], strict=False):
                large = image.repeat(magnification, 0).repeat(magnification, 1)
                single = large.shape[2] == 1
                canvas.paste(Image.fromarray(large[:, :, 0] if single else large), (left, row_top))
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def choose_magnification(image_size: int) -> int:
    """Return how many pixels wide each pixel of an image is drawn, so that it can be looked at."""
    return max(1, round(IMAGE_PIXELS / image_size))


def text_width(text: str, size: int) -> int:
    """Return the width of a line of text, in pixels, as is its size."""
    return round(_font(size).getlength(text))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # The other layout needs a library that not every machine has.
    return ImageFont.truetype(str(FONT_PATH), size, layout_engine=ImageFont.Layout.BASIC)


def _split_columns(num_columns: int, max_columns: int | None) -> list[slice]:
    """Return the columns of each band, the parts of all rows that stand one below the other."""
    num_bands = math.ceil(num_columns / (max_columns or num_columns))
    size = math.ceil(num_columns / num_bands)  # so that they are about as long as each other
    return [slice(start, start + size) for start in range(0, num_columns, size)]


@dataclass(frozen=True)
class _Layout:
    """Where images are, in pixels from the upper left corner, and how large letters are."""

    width: int
    height: int
    image_height: int
    image_width: int
    letters: int
    title_letters: int
    labels_right: int  # end of the labels of rows
    lefts: Sequence[int]  # of each column's images
    tops: Sequence[int]  # of each band's images


def _lay_out(
    rows: Sequence[Pixels],
    bands: Sequence[slice],
    *,
    magnification: int,
    title: str,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    apart: int,
) -> _Layout:
    height, width = (side * magnification for side in rows[0].shape[1:3])
    letters = min(max(LETTERS[0], round(LETTERS_PER_IMAGE * height)), LETTERS[1])
    title_letters = round(TITLE_LETTERS * letters)
    labels_right = MARGIN + max(text_width(label, letters) for label in row_labels)
    # Labels of narrow images are wider than they.
    cell = max([width, *(text_width(label, letters) + GAP for label in column_labels)])
    first_left = labels_right + letters // 2 + (cell - width) // 2
    lefts = [
        first_left + column * (cell + GAP) + (3 * GAP if column >= apart > 0 else 0)
        for column in range(bands[0].stop)
    ]
    above = GAP + (round(1.5 * letters) if column_labels else 0)
    band_height = above + len(rows) * (height + GAP) + letters
    top = MARGIN + round(1.5 * title_letters) + above
    right = lefts[-1] + (cell + width) // 2
    return _Layout(
        width=max(right, MARGIN + text_width(title, title_letters)) + MARGIN,
        height=top + len(bands) * band_height - above - letters - GAP + MARGIN,
        image_height=height,
        image_width=width,
        letters=letters,
        title_letters=title_letters,
        labels_right=labels_right,
        lefts=lefts,
        tops=[top + number * band_height for number in range(len(bands))],
    )
