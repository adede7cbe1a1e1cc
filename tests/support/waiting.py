"""Waiting for what happens outside the test, for longer where the machine is slow or busy."""

import time
from collections.abc import Callable
from typing import TypeVar

from time_budget import slowness

T = TypeVar("T")


def scaled(seconds: float) -> float:
    """Return so many seconds of a quiet machine as seconds of this one, as busy as it is now."""
    return seconds * slowness()


def wait_until(
    condition: Callable[[], T],
    seconds: float = 60.0,
    *,
    failure: Callable[[], object] = lambda: "it did not happen in time",
) -> T:
    """Wait until a condition holds and return what it returned.

    Raises:
        AssertionError: it did not hold within so many seconds of a quiet machine; with what
            `failure` returns.
    """
    began_at = time.monotonic()
    while not (result := condition()):
        elapsed = time.monotonic() - began_at
        assert elapsed < seconds or elapsed < scaled(seconds), failure()
        time.sleep(0.05)
    return result
