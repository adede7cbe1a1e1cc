"""A test that takes too long fails, however slow the machine is.

The budget is in seconds of a quiet machine. Where a test has exceeded it, a fixed piece of work is
timed there and then: on a machine that is slow, or busy with something else, it takes longer, and
the budget is as much larger. The load of the last minute counts too, as what kept the machine busy
may have ended just before.
"""

import hashlib
import os
import time

YARDSTICK_SECONDS = 0.04  # that the piece of work takes on a quiet machine
BUDGET_SECONDS = 20.0
BUDGETS = {"processes": 100.0, "smoke": 100.0, "full": float("inf")}  # of tests with these marks


def slowness() -> float:
    """Return how many times slower than a quiet machine this one is now; 1 at least."""
    began_at = time.perf_counter()
    digest = hashlib.sha256(b"0" * 2**20)
    for _ in range(60_000):
        digest.update(digest.digest())
    timed = (time.perf_counter() - began_at) / YARDSTICK_SECONDS
    return max(1.0, timed, os.getloadavg()[0] / (os.cpu_count() or 1))


def budget_of(item) -> float:
    """Return the budget of a test, in seconds of a quiet machine."""
    if os.environ.get("NVAE_FAULTS") == "full":
        return float("inf")  # it looks for as long as there are examples
    if chosen := item.get_closest_marker("budget"):
        return float(chosen.args[0])
    marked = [budget for mark, budget in BUDGETS.items() if item.get_closest_marker(mark)]
    return max(marked, default=BUDGET_SECONDS)


def excess_of(item, seconds: float) -> str | None:
    """Return what is wrong with a test that took so long, or None."""
    budget = budget_of(item)
    if seconds <= budget:
        return None
    factor = slowness()
    if seconds <= budget * factor:
        return None
    return f"took {seconds:.1f} s; its budget is {budget:.0f} s, times {factor:.1f} on this machine"
