"""Noticing that the embedded stack is gone: the lock it holds for life has become free."""

import asyncio
from pathlib import Path

from services.adapters.processes import is_locked


async def wait_for_end_of(lifeline: Path, *, interval_seconds: float = 1.0) -> None:
    """Return once nobody holds the lock on this file any more."""
    while is_locked(lifeline):
        await asyncio.sleep(interval_seconds)
