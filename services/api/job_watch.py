"""Waiting for what happens to jobs: one query for all who wait, however many they are."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from services.database import jobs
from services.database.jobs import Version
from services.database.session import Database, DatabaseUnavailable, Session
from services.database.tables import Event, Job
from services.domain.states import TERMINAL

LOOK_SECONDS = 0.03  # somebody began to wait a moment ago, as for a picture
PATIENT_LOOK_SECONDS = 0.3
MOMENT_SECONDS = 10.0
log = structlog.get_logger()


@dataclass(eq=False)
class _Waiter:
    seen: Version
    steps_count: bool  # whether a new step is news as well
    came_at: float
    told: asyncio.Event = field(default_factory=asyncio.Event)
    events: Sequence[Event] = ()  # those after the seen ones

    def is_news(self, version: Version) -> bool:
        if version.num_events > self.seen.num_events:
            return True
        return self.steps_count and version.step != self.seen.step


class JobWatch:
    """Looks at the jobs that somebody waits for, and at nothing while nobody waits.

    No database session is held by those who wait, and the events of a job are read once for all.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiters: dict[str, set[_Waiter]] = defaultdict(set)
        self._looking: asyncio.Task[None] | None = None

    async def wait_for_events(self, job_id: str, *, seen: int, seconds: float) -> Sequence[Event]:
        """Return the job's events after those that were seen; none if none came in time."""
        waiter = _Waiter(Version(seen, None), steps_count=False, came_at=time.monotonic())
        await self._wait(job_id, waiter, seconds)
        return waiter.events

    async def wait_for_change(self, job_id: str, seen: Version, *, seconds: float) -> bool:
        """Wait until the job has another event, or is at another step; return whether it is."""
        waiter = _Waiter(seen, steps_count=True, came_at=time.monotonic())
        return await self._wait(job_id, waiter, seconds)

    async def wait_for_end(self, job: Job, *, seconds: float) -> Job:
        """Return the job as it is when it has ended, or when the time has run out."""
        ends_at = time.monotonic() + seconds
        while job.status not in TERMINAL and (left := ends_at - time.monotonic()) > 0:
            await self.wait_for_events(job.id, seen=job.num_events, seconds=left)
            async with self._database.transaction() as session:
                job = await jobs.find(session, job.id)
        return job

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking

    async def _wait(self, job_id: str, waiter: _Waiter, seconds: float) -> bool:
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

    async def _look_while_needed(self) -> None:
        while self._waiters:
            newest = max(waiter.came_at for group in self._waiters.values() for waiter in group)
            is_new = time.monotonic() - newest < MOMENT_SECONDS
            await asyncio.sleep(LOOK_SECONDS if is_new else PATIENT_LOOK_SECONDS)
            try:
                async with self._database.transaction() as session:
                    await self._look(session)
            except DatabaseUnavailable as error:
                log.warning("watch.database_away", error=str(error))

    async def _look(self, session: Session) -> None:
        versions = await jobs.read_versions(session, list(self._waiters))
        for job_id, version in versions.items():
            waiters = [w for w in self._waiters.get(job_id, ()) if w.is_news(version)]
            if not waiters:
                continue
            first = min(waiter.seen.num_events for waiter in waiters)
            events = await jobs.list_events(session, job_id, after=first)
            for waiter in waiters:
                seen = waiter.seen.num_events
                waiter.events = [event for event in events if event.number > seen]
                waiter.told.set()
