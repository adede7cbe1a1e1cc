"""Waiting for what happens to jobs: one query for all who wait, however many they are."""

import asyncio
import contextlib
import time
from collections import defaultdict
from dataclasses import dataclass, field

import structlog

from services.adapters.postgres import jobs
from services.adapters.postgres.database import Database, DatabaseUnavailable
from services.adapters.postgres.tables import Job
from services.domain.statuses import TERMINAL

LOOK_SECONDS = 0.03  # somebody began to wait a moment ago, as for a picture
PATIENT_LOOK_SECONDS = 0.3
MOMENT_SECONDS = 10.0

log = structlog.get_logger()


@dataclass(eq=False)
class _Waiter:
    seen: int  # events
    came_at: float
    told: asyncio.Event = field(default_factory=asyncio.Event)


class JobWatch:
    """Looks at the jobs that somebody waits for, and at nothing while nobody waits.

    No database session is held by those who wait.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiters: dict[str, set[_Waiter]] = defaultdict(set)
        self._looking: asyncio.Task[None] | None = None

    async def wait_for_event(self, job_id: str, *, seen: int, seconds: float) -> bool:
        """Wait until the job has more events than were seen; return whether that came in time."""
        waiter = _Waiter(seen, time.monotonic())
        self._waiters[job_id].add(waiter)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_while_needed())
        try:
            await asyncio.wait_for(waiter.told.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            self._waiters[job_id].discard(waiter)
            if not self._waiters[job_id]:
                del self._waiters[job_id]
        return True

    async def wait_for_end(self, job: Job, *, seconds: float) -> Job:
        """Return the job as it is when it has ended, or when the time has run out."""
        ends_at = time.monotonic() + seconds
        while job.status not in TERMINAL and (left := ends_at - time.monotonic()) > 0:
            await self.wait_for_event(job.id, seen=job.num_events, seconds=left)
            async with self._database.transaction() as session:
                job = await jobs.find(session, job.id)
        return job

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking

    async def _look_while_needed(self) -> None:
        while self._waiters:
            newest = max(waiter.came_at for group in self._waiters.values() for waiter in group)
            is_new = time.monotonic() - newest < MOMENT_SECONDS
            await asyncio.sleep(LOOK_SECONDS if is_new else PATIENT_LOOK_SECONDS)
            try:
                async with self._database.transaction() as session:
                    counts = await jobs.count_events(session, list(self._waiters))
            except DatabaseUnavailable as error:
                log.warning("watch.database_away", error=str(error))
                continue
            for job_id, count in counts.items():
                for waiter in self._waiters.get(job_id, ()):
                    if count > waiter.seen:
                        waiter.told.set()
