"""Rows of images, each with a label, and a caption below each image."""

from collections.abc import Sequence
from dataclasses import dataclass

from nvae_core.analysis.drawing.canvas import FAINT_INK, Canvas
from nvae_core.data.streams import Images

CELL_PIXELS = 112  # about how wide and high an image is drawn
GAP = 6
WIDE_GAP = 26
MARGIN = 28
TITLE_HEIGHT = 108
LABEL_WIDTH = 150
HEADING_HEIGHT = 30
CAPTION_HEIGHT = 22
MIN_WIDTH = 720  # so that there is room for the title


@dataclass(frozen=True)
class ImageRow:
    """Images (N, H, W, C) of one row, and what is written beside and below them."""

    label: str
    images: Images
    captions: Sequence[str] = ()
    is_last_of_block: bool = False  # then more room is below


@dataclass(frozen=True)
class ImageTable:
    """A title, and rows of images."""

    title: str
    subtitle: str
    rows: Sequence[ImageRow]
    headings: Sequence[str] = ()  # above the columns
    num_apart: int = 0  # so many first columns stand apart from the others
    num_apart_at_end: int = 0  # and so many last ones
    cell_pixels: int = CELL_PIXELS
    room_below: int = 0  # pixels for something else


def draw_table(table: ImageTable) -> tuple[Canvas, int]:
    """Return the picture, and where the room below begins, in pixels from the top."""
    height, width = table.rows[0].images.shape[1:3]
    zoom = max(1, round(table.cell_pixels / max(height, width)))
    height, width = height * zoom, width * zoom
    num_columns = max(len(row.images) for row in table.rows)
    left_of = [
        MARGIN + LABEL_WIDTH + column * (width + GAP) + _apart(table, column, num_columns)
        for column in range(num_columns)
    ]
    top = TITLE_HEIGHT + (HEADING_HEIGHT if table.headings else 0)
    tops: list[int] = []
    for row in table.rows:
        tops.append(top)
        top += height + (CAPTION_HEIGHT if row.captions else 0)
        top += WIDE_GAP if row.is_last_of_block else GAP
    page_width = max(MIN_WIDTH, left_of[-1] + width + MARGIN)
    canvas = Canvas(page_width, top + MARGIN - GAP + table.room_below)
    draw_title(canvas, table.title, table.subtitle)
    for left, heading in zip(left_of, table.headings, strict=False):
        middle = TITLE_HEIGHT + HEADING_HEIGHT / 2 - 4
        canvas.text(heading, left=left + width / 2, top=middle, align="center")
    for row, row_top in zip(table.rows, tops, strict=True):
        canvas.text(row.label, left=MARGIN, top=row_top + height / 2)
        for left, image in zip(left_of, row.images, strict=False):
            canvas.image(image, left=left, top=row_top, zoom=zoom)
        for left, caption in zip(left_of, row.captions, strict=False):
            middle = row_top + height + CAPTION_HEIGHT / 2
            canvas.text(
                caption, left=left + width / 2, top=middle, size=7, color=FAINT_INK, align="center"
            )
    return canvas, top


def draw_title(canvas: Canvas, title: str, subtitle: str) -> None:
    """Write what the picture shows, and of what."""
    canvas.text(title, left=MARGIN, top=MARGIN + 4, size=12, bold=True)
    canvas.text(
        subtitle, left=MARGIN, top=MARGIN + 32 + 11 * subtitle.count("\n"), size=8, color=FAINT_INK
    )


def _apart(table: ImageTable, column: int, num_columns: int) -> int:
    """Return how far a column is moved to the right by the gaps before it."""
    num_gaps = int(0 < table.num_apart <= column)
    num_gaps += int(column >= num_columns - table.num_apart_at_end)
    return num_gaps * (WIDE_GAP - GAP)
