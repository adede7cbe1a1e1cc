"""Where the samples' nearest distances lie among those of held-out images."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nvae_core.analysis.drawing.figures import DPI, LINE_COLORS
from nvae_core.analysis.drawing.image_tables import MARGIN, ImageTable, draw_image_table

PANEL_HEIGHT = 230
PANEL_WIDTH = 560
NUM_BINS = 30


def draw_nearest_images(
    table: ImageTable, samples: Sequence[float], held_out: Sequence[float], *, held_out_name: str
) -> Figure:
    """Draw samples and neighbours, and below them the distances of samples and held-out images."""
    if not held_out:
        return draw_image_table(table)
    figure = draw_image_table(table, room_below=PANEL_HEIGHT)
    width, height = (round(inches * DPI) for inches in figure.get_size_inches())
    left, bottom = MARGIN + 50, 58
    panel_width = min(PANEL_WIDTH, width - left - MARGIN)
    panel_height = PANEL_HEIGHT - bottom - 50
    axes = figure.add_axes(
        (left / width, bottom / height, panel_width / width, panel_height / height)
    )
    axes.hist(held_out, bins=NUM_BINS, color="#c9d6df", label=f"{held_out_name}, {len(held_out)}")
    top = axes.get_ylim()[1]
    axes.plot(
        samples,
        [-0.05 * top] * len(samples),
        "^",
        color=LINE_COLORS[1],
        markersize=7,
        alpha=0.8,
        clip_on=False,
        label=f"samples, {len(samples)}",
    )
    axes.set_ylim(-0.1 * top, top)
    axes.set_xlim(left=0)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    axes.set_xlabel("distance to the nearest image")
    axes.set_ylabel("images")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return figure
