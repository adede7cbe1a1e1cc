"""The one active scheduler: a session advisory lock, and notifications on the same connection."""

from types import TracebackType
from typing import Self

import psycopg

from services.adapters.postgres.database import QUEUE_CHANNEL, Database, DatabaseUnavailable

SCHEDULER_LOCK = 7_201_502  # any number, the same for all replicas


class Leadership:
    """Held by at most one process; Postgres releases it when the connection ends."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: psycopg.AsyncConnection | None = None

    async def __aenter__(self) -> Self:
        """Connect and wait until no other process holds the lock.

        Raises:
            DatabaseUnavailable: Postgres is away.
        """
        try:
            connection = await self._database.connect()
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(str(error).strip()) from error
        try:
            await connection.execute("SELECT pg_advisory_lock(%s)", (SCHEDULER_LOCK,))
            await connection.execute(f"LISTEN {QUEUE_CHANNEL}")
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
