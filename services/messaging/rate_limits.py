"""How many requests each caller makes within a minute, over all processes of the API.

Every process counts on its own and answers from memory; each second it adds its counts to those in
the broker and reads the sums. So a limit is exceeded by at most a second's requests, a request
never waits for the broker, and while the broker is away each process counts alone.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.settings import BrokerSettings

WINDOW_SECONDS = 60
SHARE_SECONDS = 1.0
TIMEOUT_SECONDS = 2.0
log = structlog.get_logger()


@dataclass(frozen=True)
class Allowance:
    """Whether a request may go on, and how many more may in this window."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int


@dataclass
class _Count:
    own: int = 0
    shared: int = 0  # of its own, those the broker has
    elsewhere: int = 0  # of other processes, as of the last exchange


class RateLimits:
    """Windows of a minute, the same for all processes whose clocks agree."""

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        per_minute: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._url = settings.url.get_secret_value()
        self._limit = per_minute
        self._now = now
        self._window = 0
        self._counts: dict[str, _Count] = {}
        self._sharing: asyncio.Task[None] | None = None

    def take(self, caller: str) -> Allowance:
        """Count a request, unless the caller has had all of this window."""
        now = self._now()
        self._begin_window(int(now // WINDOW_SECONDS))
        count = self._counts.setdefault(caller, _Count())
        left = self._limit - count.own - count.elsewhere
        if left > 0:
            count.own += 1
        reset_seconds = int(WINDOW_SECONDS - now % WINDOW_SECONDS) + 1
        return Allowance(left > 0, self._limit, max(0, left - 1), reset_seconds)

    def start(self) -> None:
        """Begin to exchange counts, in a task of the running loop."""
        self._sharing = asyncio.create_task(self._share_regularly())

    async def close(self) -> None:
        """Stop exchanging."""
        if self._sharing is not None:
            self._sharing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sharing

    async def share(self, broker: Redis) -> None:
        """Add the own counts to those in the broker, and take over the sums.

        Raises:
            RedisError, OSError: the broker is away; the next exchange makes up for it.
        """
        window = self._window
        increments = {name: count.own - count.shared for name, count in self._counts.items()}
        async with broker.pipeline(transaction=False) as pipeline:
            for name, new in increments.items():
                pipeline.incrby(f"requests:{window}:{name}", new)
                pipeline.expire(f"requests:{window}:{name}", 2 * WINDOW_SECONDS)
            totals = (await pipeline.execute())[::2]
        if window != self._window:
            return
        for (name, new), total in zip(increments.items(), totals, strict=True):
            count = self._counts[name]
            count.shared += new
            count.elsewhere = total - count.shared

    def _begin_window(self, window: int) -> None:
        if window != self._window:
            self._window, self._counts = window, {}

    async def _share_regularly(self) -> None:
        broker = Redis.from_url(
            self._url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
        )
        is_away = False
        try:
            while True:
                await asyncio.sleep(SHARE_SECONDS)
                try:
                    if self._counts:
                        await self.share(broker)
                    is_away = False
                except (RedisError, OSError) as error:
                    if not is_away:
                        log.warning("rate_limits.alone", error=str(error))
                    is_away = True
        finally:
            await broker.aclose()
