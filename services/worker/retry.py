"""Trying again while Postgres or the object store is away: for a quarter of an hour."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from services.database.session import DatabaseUnavailable
from services.storage.s3 import StorageUnavailable

MAX_OUTAGE_SECONDS = 900.0
MAX_OUTAGE_SECONDS_AFTER_CANCEL = 10.0

T = TypeVar("T")
log = structlog.get_logger()


async def retry_outages(
    operation: Callable[[], Awaitable[T]], *, cancelled: asyncio.Event | None = None
) -> T:
    """Return what the operation returns, trying again while Postgres or the store is away.

    For a quarter of an hour, or for seconds once the user has cancelled the job.
    """

    def is_too_long(state: RetryCallState) -> bool:
        is_cancelled = cancelled is not None and cancelled.is_set()
        limit = MAX_OUTAGE_SECONDS_AFTER_CANCEL if is_cancelled else MAX_OUTAGE_SECONDS
        return (state.seconds_since_start or 0.0) + state.upcoming_sleep > limit

    attempts = AsyncRetrying(
        retry=retry_if_exception_type((DatabaseUnavailable, StorageUnavailable)),
        wait=wait_exponential(multiplier=0.5, max=10.0),
        stop=is_too_long,
        before_sleep=_log_postponed,
        reraise=True,
    )
    async for attempt in attempts:
        with attempt:
            return await operation()
    raise AssertionError  # tenacity raises the last error itself


def _log_postponed(state: RetryCallState) -> None:
    assert state.outcome is not None
    log.warning("commit.postponed", error=str(state.outcome.exception()))
