"""Where distances of samples lie among those of other images."""

from collections.abc import Sequence

import numpy as np

from nvae_core.analysis.drawing.canvas import COLORS, FAINT_INK, INK, LINE, Canvas
from nvae_core.analysis.drawing.image_rows import MARGIN

HEIGHT = 300  # of all of it
NUM_BINS = 40


def draw_histogram(
    canvas: Canvas, distances: Sequence[float], marks: Sequence[float], *, top: int, label: str
) -> None:
    """Draw a histogram of distances, with one mark per sample above its distance."""
    left, width = MARGIN + 50, min(canvas.width, 1100) - 2 * MARGIN - 60
    axes = canvas.axes(left=left, top=top + 60, width=width, height=HEIGHT - 140)
    highest = max(*distances, *marks)
    counts, _, _ = axes.hist(distances, bins=NUM_BINS, range=(0, highest * 1.02), color="#b6c2cf")
    tallest = float(np.max(counts))
    axes.vlines(marks, 0, tallest * 1.08, color=COLORS[1], linewidth=0.9)
    axes.plot(marks, [tallest * 1.08] * len(marks), "v", color=COLORS[1], markersize=5)
    axes.set_xlim(0, highest * 1.02)
    axes.set_ylim(0, tallest * 1.2)
    axes.set_xlabel("L2 distance to the nearest image", fontsize=8, color=INK)
    axes.set_ylabel("images", fontsize=8, color=FAINT_INK)
    axes.grid(visible=False, axis="x")
    axes.grid(color=LINE, axis="y")
    canvas.text(label, left=MARGIN, top=top + 28, size=8.5)
