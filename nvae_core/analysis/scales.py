"""Which scale an axis has, and how its ticks are written."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

LOG_RATIO = 10.0  # of the largest value to the smallest, from which an axis is logarithmic
PLAIN = (1e-3, 1e5)  # between these numbers are written without exponents


def choose_scale(panel: Axes, values: Sequence[float]) -> None:
    """Let an axis be logarithmic if the values, none below 0, are far apart; 0 keeps a place."""
    if not values or min(values) < 0 or max(values) == 0:
        return
    low, high = min(value for value in values if value > 0), max(values)
    if high <= LOG_RATIO * low:
        return
    if min(values) > 0:
        panel.set_yscale("log")
        few = high < 100 * low
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    else:
        panel.set_yscale("symlog", linthresh=low)
    panel.yaxis.set_major_formatter(FuncFormatter(_format_of(low, high)))
    panel.yaxis.set_minor_formatter(NullFormatter())


def _format_of(low: float, high: float) -> Callable[[float, int | None], str]:
    """Return one format for all ticks of an axis."""
    style = "g" if PLAIN[0] <= low and high <= PLAIN[1] else ".0e"

    def write(value: float, _place: int | None = None) -> str:
        return "0" if value == 0 else f"{value:{style}}"

    return write
