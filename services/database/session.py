"""The connection pool, transactions, Postgres' clock, and ids of new rows."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from sqlalchemy import ColumnElement, func, make_url, select, text
from sqlalchemy.exc import DataError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from services.domain.keys import make_id
from services.settings import DatabaseSettings

Session = AsyncSession
"""One transaction's view of the database, passed to the modules of statements."""
QUEUE_CHANNEL = "queue"
"""Notified when there may be something to place."""
_NOTIFY_QUEUE = text(f"NOTIFY {QUEUE_CHANNEL}")
_UNAVAILABLE = (OperationalError, InterfaceError, InternalError, PoolTimeout)
_KEEPALIVE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}
"""A network that has silently gone is noticed in seconds, not in hours."""
_TIME_LIMITS = "-c lock_timeout=5s -c idle_in_transaction_session_timeout=10s"
"""A process that hangs in a transaction cannot hold up the others."""
_TRANSACTION_SECONDS = 15.0
"""A server that keeps the connection and does not answer is away as well."""
RejectedValue = DataError
"""Postgres cannot store a value, such as a text with a zero character."""


class DatabaseUnavailable(Exception):
    """Postgres is away, or too slow for now: try again later."""


class Database:
    """A pool of connections to Postgres."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._url = settings.url.get_secret_value()
        self._engine = create_async_engine(
            self._url,
            pool_size=settings.pool_size,
            max_overflow=0,  # beyond it requests wait: a connection for one request costs as much
            pool_pre_ping=True,
            pool_timeout=10,
            connect_args=_KEEPALIVE | {"options": _TIME_LIMITS},
        )
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed at the end of the block, rolled back by an exception.

        Raises:
            DatabaseUnavailable: nothing was committed, or nobody can tell whether it was.
        """
        try:
            async with asyncio.timeout(_TRANSACTION_SECONDS):
                async with self._sessions.begin() as session:
                    yield session
        except TimeoutError as error:
            raise DatabaseUnavailable("it did not answer in time") from error
        except _UNAVAILABLE as error:
            raise DatabaseUnavailable(str(error.__cause__ or error).strip()) from error

    async def check(self) -> None:
        """Raise unless Postgres answers; it is asked even while every connection is in use.

        Raises:
            psycopg.OperationalError: it does not.
        """
        async with await self.connect() as connection:
            await connection.execute("SELECT 1")

    async def connect(self) -> psycopg.AsyncConnection:
        """Return a connection of its own, in autocommit mode: for locks and notifications."""
        url = make_url(self._url).set(drivername="postgresql")
        return await psycopg.AsyncConnection.connect(
            url.render_as_string(hide_password=False), autocommit=True, **_KEEPALIVE
        )

    async def close(self) -> None:
        """Close every pooled connection."""
        await self._engine.dispose()


async def notify_queue(session: AsyncSession) -> None:
    """Wake the scheduler when this transaction commits."""
    await session.execute(_NOTIFY_QUEUE)


def in_seconds(seconds: float) -> ColumnElement[datetime]:
    """Return the SQL expression for this many seconds from now; `now()` would stand still."""
    return func.clock_timestamp() + text(f"make_interval(secs => {float(seconds)})")


async def read_clock(session: AsyncSession, *, seconds_from_now: float = 0.0) -> datetime:
    """Return the time now, or some seconds from now."""
    return (await session.scalars(select(in_seconds(seconds_from_now)))).one()


def new_id(prefix: str) -> str:
    """Return a new id of this type, such as `job_…`."""
    return make_id(prefix, now=datetime.now(UTC), entropy=secrets.token_bytes(10))
