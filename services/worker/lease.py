"""The runner's lease: renewed in Postgres, mirrored in the deadman file that the ranks watch."""

import asyncio
import time

import structlog

from nvae_core.run_directory import RunDirectory
from services.adapters.postgres import attempts
from services.adapters.postgres.database import Database, DatabaseUnavailable
from services.domain.errors import LeaseLost
from services.settings import LeaseSettings

log = structlog.get_logger()


class Lease:
    """Keeps one attempt alive and hears what the user wants of it."""

    def __init__(
        self,
        database: Database,
        settings: LeaseSettings,
        run_directory: RunDirectory,
        *,
        attempt_id: str,
        fence: int,
    ) -> None:
        self._database = database
        self._settings = settings
        self._run_directory = run_directory
        self._attempt_id = attempt_id
        self._fence = fence
        self.stop_requested = asyncio.Event()

    async def hold(self) -> None:
        """Renew until cancelled.

        Raises:
            LeaseLost: the attempt ended, or renewals failed for as long as a lease lasts.
        """
        kill_deadline = time.monotonic() + self._settings.seconds
        while True:
            asked_at = time.monotonic()
            try:
                await self._renew()
                # Counted from before the question, so it ends before the lease in Postgres does.
                kill_deadline = asked_at + self._settings.seconds
                pause = self._settings.renew_seconds
            except (DatabaseUnavailable, TimeoutError) as error:
                log.warning("lease.not_renewed", error=repr(error))
                pause = min(1.0, self._settings.renew_seconds)
            try:
                self._run_directory.extend_deadman(kill_deadline)
            except OSError as error:
                log.warning("lease.deadman_not_written", error=repr(error))
            if time.monotonic() > kill_deadline:
                raise LeaseLost("the lease could not be renewed in time")
            await asyncio.sleep(pause)

    async def _renew(self) -> None:
        async with asyncio.timeout(self._settings.renew_seconds):
            async with self._database.transaction() as session:
                stop = await attempts.renew(
                    session, self._attempt_id, self._fence, lease_seconds=self._settings.seconds
                )
        if stop:
            self.stop_requested.set()
