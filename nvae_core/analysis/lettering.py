"""Text on images: how wide it is, and how it is drawn."""

from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageDraw, ImageFont

from nvae_core.analysis.style import INK

FONT_PATH = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


def text_width(text: str, size: int) -> int:
    """Return the width of a line of text, in pixels, as is its size."""
    return round(_font(size).getlength(text))


def write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, at: str) -> None:
    """Write a line of text; `at` says which point of it lies at the place, as Pillow names it."""
    draw.text(place, text, fill=INK, font=_font(size), anchor=at)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # The other layout needs a library that not every machine has.
    return ImageFont.truetype(str(FONT_PATH), size, layout_engine=ImageFont.Layout.BASIC)
