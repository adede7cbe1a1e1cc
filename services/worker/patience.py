"""Going on while Postgres or the object store is away: for a quarter of an hour, not for ever."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from services.adapters.postgres.database import DatabaseUnavailable
from services.adapters.s3_storage import StorageUnavailable
from services.worker.publishing import Publisher

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 900.0
HURRIED_SECONDS = 10.0  # after a cancel

T = TypeVar("T")
log = structlog.get_logger()


async def publish_until(
    ended: asyncio.Event, publisher: Publisher, *, hurry: asyncio.Event
) -> None:
    """Publish what appears until the trainer has ended, and then what is left.

    Raises:
        ValueError: the trainer wrote a line that is not one of progress.
        LeaseLost: the attempt is not live any more.
        DatabaseUnavailable, StorageUnavailable: for longer than is worth the slots; that is
            not long once the user has cancelled the job (`hurry`).
    """
    lines = asyncio.create_task(_follow(publisher.publish_new, ended))
    logs = asyncio.create_task(_follow(publisher.publish_logs, ended))
    files = asyncio.create_task(_follow(publisher.publish_next_file, ended))
    try:
        done, _ = await asyncio.wait((lines, logs, files), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # raises what ended it
        await asyncio.gather(lines, logs)
        # A file that is on its way now is waited for by the rest, which comes after it.
        await publish_last(publisher.publish_rest, hurry=hurry)
    finally:
        for task in (lines, logs, files):
            task.cancel()
        await asyncio.gather(lines, logs, files, return_exceptions=True)


async def publish_last(publish: Callable[[], Awaitable[None]], *, hurry: asyncio.Event) -> None:
    """Publish what is left after the trainer has ended; errors as those of `publish_until`."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS) as limit:
            await patiently(publish, hurry=hurry)
    except TimeoutError as error:
        if not limit.expired():
            raise
        # A store that takes bytes, but too slowly, must not keep the slots for ever.
        message = f"not all files could be stored within {PATIENCE_SECONDS:.0f} s"
        raise StorageUnavailable(message) from error


async def patiently(
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
            patience = HURRIED_SECONDS if hurry and hurry.is_set() else PATIENCE_SECONDS
            if time.monotonic() + pause > began_at + patience:
                raise
            log.warning("commit.postponed", error=str(error))
        await asyncio.sleep(pause)
        pause = min(2 * pause, 10.0)


async def _follow(publish: Callable[[], Awaitable[int]], ended: asyncio.Event) -> None:
    """Publish until the trainer has ended, again and again; without a pause while there is more."""
    while not ended.is_set():
        try:
            if await publish():
                continue
        except (DatabaseUnavailable, StorageUnavailable) as error:
            log.warning("publish.postponed", error=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), LOOK_SECONDS)
