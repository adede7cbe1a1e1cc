"""Trying again while Postgres or the object store is away: for a quarter of an hour."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from services.database.session import DatabaseUnavailable
from services.storage.s3 import StorageUnavailable

MAX_OUTAGE_SECONDS = 900.0
MAX_OUTAGE_SECONDS_AFTER_CANCEL = 10.0  # after a cancel
T = TypeVar("T")
log = structlog.get_logger()


async def retry_outages(
    operation: Callable[[], Awaitable[T]], *, hurry: asyncio.Event | None = None
) -> T:
    """Return what the operation returns, trying again while Postgres or the store is away.

    For a quarter of an hour, or for seconds once there is a hurry.
    """
    began_at = time.monotonic()
    pause = 0.5
    while True:
        try:
            return await operation()
        except (DatabaseUnavailable, StorageUnavailable) as error:
            patience = (
                MAX_OUTAGE_SECONDS_AFTER_CANCEL if hurry and hurry.is_set() else MAX_OUTAGE_SECONDS
            )
            if time.monotonic() + pause > began_at + patience:
                raise
            log.warning("commit.postponed", error=str(error))
        await asyncio.sleep(pause)
        pause = min(2 * pause, 10.0)
