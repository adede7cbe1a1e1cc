"""A curve in one line of text."""

import math
from collections.abc import Sequence
from itertools import pairwise

BLOCKS = "▁▂▃▄▅▆▇█"
NOT_FINITE = "×"


def sparkline(values: Sequence[float], width: int) -> str:
    """Return the values as blocks from the lowest to the highest, at most `width` of them."""
    if not values or width < 1:
        return ""
    columns = [_mean(part) for part in _split(values, min(width, len(values)))]
    finite = [value for value in columns if math.isfinite(value)]
    lowest, highest = min(finite, default=0.0), max(finite, default=0.0)
    span = highest / 2 - lowest / 2  # halves: a difference of large numbers may be none
    return "".join(_block(value, lowest, span) for value in columns)


def _block(value: float, lowest: float, span: float) -> str:
    if not math.isfinite(value):
        return NOT_FINITE
    if span == 0:
        return BLOCKS[0]
    return BLOCKS[min(len(BLOCKS) - 1, int((value / 2 - lowest / 2) / span * len(BLOCKS)))]


def _split(values: Sequence[float], num_parts: int) -> list[Sequence[float]]:
    ends = [len(values) * index // num_parts for index in range(num_parts + 1)]
    return [values[start:end] for start, end in pairwise(ends)]


def _mean(values: Sequence[float]) -> float:
    if not all(map(math.isfinite, values)):
        return math.nan
    return math.fsum(value / len(values) for value in values)  # the sum may be too large
