"""Noticing that the embedded stack is gone: the lock it holds for life has become free."""

import asyncio
import fcntl
from pathlib import Path


async def wait_for_end_of(lifeline: Path, *, interval_seconds: float = 1.0) -> None:
    """Return once nobody holds the lock on this file any more."""
    while _is_locked(lifeline):
        await asyncio.sleep(interval_seconds)


def _is_locked(path: Path) -> bool:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
