"""The one active scheduler: a session advisory lock, and notifications on the same connection.

Postgres releases the lock when the connection ends. A leader that hangs keeps its connection; so it
says when it was last at work, and whoever waits ends the connection of one that is silent.
"""

import asyncio
from types import TracebackType
from typing import Self

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.database.session import QUEUE_CHANNEL, Database, DatabaseUnavailable

SCHEDULER_LOCK = 7_201_502  # any number, the same for all replicas
LOOK_SECONDS = 1.0
SILENT_SECONDS = 6.0
_DISMISS_SILENT_LEADER = """
    SELECT pg_terminate_backend(leaders.backend_pid)
    FROM leaders
    JOIN pg_locks ON pg_locks.pid = leaders.backend_pid
        AND locktype = 'advisory' AND granted AND objid = %(lock)s
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    WHERE leaders.seen_at < clock_timestamp() - make_interval(secs => %(silent)s)
"""
_SEEN = """
    WITH before AS (SELECT seen_at FROM leaders WHERE id = 1)
    INSERT INTO leaders (id, backend_pid, seen_at) VALUES (1, pg_backend_pid(), clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET backend_pid = pg_backend_pid(), seen_at = clock_timestamp()
    RETURNING coalesce(extract(epoch FROM seen_at - (SELECT seen_at FROM before)), 0)::float8
"""
_LED = """
    SELECT count(*) FROM leaders
    WHERE seen_at > clock_timestamp() - make_interval(secs => :silent)
"""


class Leadership:
    """Held by at most one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: psycopg.AsyncConnection | None = None

    async def __aenter__(self) -> Self:
        """Connect and wait until no other process leads.

        Raises:
            DatabaseUnavailable: Postgres is away.
        """
        try:
            connection = await self._database.connect()
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(str(error).strip()) from error
        try:
            await _win(connection)
        except psycopg.OperationalError as error:
            await connection.close()
            raise DatabaseUnavailable(str(error).strip()) from error
        except BaseException:  # cancelled while waiting
            await connection.close()
            raise
        self._connection = connection
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the lock back."""
        assert self._connection is not None
        await self._connection.close()

    async def wait(self, timeout_seconds: float) -> None:
        """Return at the next notification, or after the time-out.

        Raises:
            DatabaseUnavailable: the connection, and with it the lock, is lost.
        """
        assert self._connection is not None
        try:
            async for _ in self._connection.notifies(timeout=timeout_seconds, stop_after=1):
                return
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(str(error).strip()) from error

    async def beat(self) -> float:
        """Say that this leader is at work, and return how long ago it said so before; as `wait`.

        In seconds of Postgres' clock, which leases are counted in: a server that hung, or whose
        clock was set, shows here before anything is taken for silent.
        """
        assert self._connection is not None
        try:
            cursor = await self._connection.execute(_SEEN)
            [seconds] = await cursor.fetchone() or (0.0,)
            return float(seconds)
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(str(error).strip()) from error


async def is_led(session: AsyncSession) -> bool:
    """Whether a scheduler, this one or another, has been at work within seconds."""
    silent = {"silent": SILENT_SECONDS}
    return bool(await session.scalar(text(_LED), silent))


async def _win(connection: psycopg.AsyncConnection) -> None:
    while True:
        cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (SCHEDULER_LOCK,))
        if (await cursor.fetchone() or (False,))[0]:
            break
        await connection.execute(
            _DISMISS_SILENT_LEADER, {"lock": SCHEDULER_LOCK, "silent": SILENT_SECONDS}
        )
        await asyncio.sleep(LOOK_SECONDS)
    await connection.execute(_SEEN)
    await connection.execute(f"LISTEN {QUEUE_CHANNEL}")
