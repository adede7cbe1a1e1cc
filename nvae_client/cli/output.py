"""Numbers, tables and curves as text that fits 80 columns."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

BLOCKS = "▁▂▃▄▅▆▇█"
NOT_FINITE = "×"


def show_number(value: object) -> str:
    """Return a number with as many digits as are worth reading."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    if not math.isfinite(value):
        return str(value)
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}"
    return f"{value:.5g}"


def show_count(value: int | None) -> str:
    """Return a count by thousands: 33.4 M."""
    return _scaled(value, 1000, ("", "k", "M", "G", "T"))


def show_bytes(value: int | None) -> str:
    """Return a size: 1.4 GiB."""
    return _scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def show_seconds(value: float | None) -> str:
    """Return a time span by its two largest units: 2h 05m."""
    if value is None:
        return ""
    seconds = round(value)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02}s"
    if seconds < 86_400:
        return f"{seconds // 3600}h {seconds // 60 % 60:02}m"
    return f"{seconds // 86_400}d {seconds // 3600 % 24:02}h"


def show_age(moment: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago something was by its largest unit: 3h."""
    if moment is None:
        return ""
    elapsed = ((now or datetime.now(UTC)) - moment).total_seconds()
    return show_seconds(max(0.0, elapsed)).split(" ", maxsplit=1)[0]


def show_moment(moment: datetime | None) -> str:
    """Return a moment in the time zone of the person who reads it."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def _scaled(value: int | None, base: int, units: tuple[str, ...]) -> str:
    if value is None:
        return ""
    amount = float(value)
    for unit in units[:-1]:
        if abs(amount) < base:
            digits = f"{amount:.0f}" if unit == units[0] or amount >= 100 else f"{amount:.1f}"
            return f"{digits} {unit}".rstrip()
        amount /= base
    return f"{amount:.1f} {units[-1]}"


def plain_table(*columns: str, right: Iterable[str] = (), flexible: str | None = None) -> Table:
    """Return an empty table without lines.

    Args:
        columns: their names.
        right: those whose content is numbers.
        flexible: the one that gives way when the terminal is narrow; its cells are `cut`.
    """
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    numbers = {*right}
    for name in columns:
        table.add_column(
            name.upper(),
            justify="right" if name in numbers else "left",
            no_wrap=name != flexible,  # those that may wrap are narrowed first
        )
    return table


def cut(text: str) -> Text:
    """Return what a flexible column holds: one line, cut where the column ends."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def pairs_table(pairs: Mapping[str, Any]) -> Table:
    """Return names and values below one another, without those that are empty."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs.items():
        if value not in (None, "", {}, [], ()):
            table.add_row(name, value if isinstance(value, str) else escape(show_value(value)))
    return table


def show_value(value: Any) -> str:
    """Return any JSON on one line, what is inside something else by dotted name."""
    if isinstance(value, dict):
        flat = _flatten(value)
        return "  ".join(f"{name}={show_value(item)}" for name, item in flat if item is not None)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(show_value(item) for item in value) + "]"
    return show_number(value)


def _flatten(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict) and value:
            yield from ((f"{name}.{inner}", item) for inner, item in _flatten(value))
        else:
            yield name, value


def sparkline(values: Sequence[float], width: int) -> str:
    """Return the values as blocks from the lowest to the highest, at most `width` of them."""
    if not values or width < 1:
        return ""
    columns = [_mean(part) for part in _split_points(values, min(width, len(values)))]
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


def _split_points(values: Sequence[float], num_parts: int) -> list[Sequence[float]]:
    ends = [len(values) * index // num_parts for index in range(num_parts + 1)]
    return [values[start:end] for start, end in pairwise(ends)]


def _mean(values: Sequence[float]) -> float:
    if not all(map(math.isfinite, values)):
        return math.nan
    return math.fsum(value / len(values) for value in values)  # the sum may be too large
