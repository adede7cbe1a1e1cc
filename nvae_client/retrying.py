"""When to try again: soon, then ever later, never at the same moment as everybody else."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from nvae_client.errors import ServiceError, ServiceUnreachable

RETRIED_STATUSES = frozenset({429, 502, 503, 504})  # 502 and 504: a proxy without its service
OURS = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)  # a second try would be the same


@dataclass(frozen=True)
class Timing:
    """The clock, what sleeps, and the source of jitter in [0, 1)."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random


@dataclass(frozen=True)
class RetryPolicy:
    """For how long one request is tried, and how long the pauses are."""

    limit_seconds: float = 60.0
    first_delay_seconds: float = 0.25
    longest_delay_seconds: float = 8.0


class Retries:
    """The tries of one request, or of one stream since it last made progress."""

    def __init__(self, policy: RetryPolicy, timing: Timing) -> None:
        self._policy = policy
        self._timing = timing
        self.made_progress()

    def made_progress(self) -> None:
        """Begin to count anew."""
        self._num_failures = 0
        self._ends_at = self._timing.clock() + self._policy.limit_seconds

    def absorb(self, error: Exception) -> None:
        """Return when it is time for the next try.

        Raises:
            ServiceError: the same, if trying again does not help or takes too long.
            ServiceUnreachable: in place of an error of the connection.
        """
        if isinstance(error, ServiceError):
            if error.status not in RETRIED_STATUSES or not self._pause(error.retry_after_seconds):
                raise error
        elif isinstance(error, OURS) or not self._pause(None):
            raise ServiceUnreachable(_explain(error)) from error

    def _pause(self, asked_seconds: float | None) -> bool:
        """Sleep, unless the time would be over before the next try."""
        doubled = self._policy.first_delay_seconds * 2.0 ** min(self._num_failures, 30)
        delay = min(doubled, self._policy.longest_delay_seconds)
        delay *= 0.5 + 0.5 * self._timing.random()
        if asked_seconds is not None:
            # Never before the service wants it, and not all at the very moment it wants it.
            delay = asked_seconds + min(delay, self._policy.first_delay_seconds)
        if self._timing.clock() + delay > self._ends_at:
            return False
        self._num_failures += 1
        self._timing.sleep(delay)
        return True


def _explain(error: Exception) -> str:
    return str(error) or type(error).__name__
