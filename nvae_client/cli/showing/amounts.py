"""Numbers as people read them."""

import math
from datetime import UTC, datetime


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
