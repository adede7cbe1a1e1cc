"""Postgres' own clock: all lease arithmetic uses it, so the nodes' clocks do not matter."""

from datetime import datetime

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession


def in_seconds(seconds: float) -> ColumnElement[datetime]:
    """Return the SQL expression for this many seconds from now; `now()` would stand still."""
    return func.clock_timestamp() + text(f"make_interval(secs => {float(seconds)})")


async def read_clock(session: AsyncSession, *, seconds_from_now: float = 0.0) -> datetime:
    """Return the time now, or some seconds from now."""
    return (await session.scalars(select(in_seconds(seconds_from_now)))).one()
