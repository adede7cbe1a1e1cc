"""The active scheduler's loop: expire, place, publish; each a transaction of its own."""

import asyncio
import time

import structlog

from services.adapters.celery_queue import BrokerUnavailable, DoorbellPublisher
from services.adapters.ids import new_id
from services.adapters.postgres import attempts, jobs, nodes, outbox
from services.adapters.postgres.attempts import Ending
from services.adapters.postgres.database import Database, DatabaseUnavailable
from services.adapters.postgres.leadership import Leadership
from services.domain.errors import Conflict
from services.domain.placement import place
from services.domain.statuses import AttemptStatus, Reason
from services.settings import LeaseSettings, SchedulerSettings

log = structlog.get_logger()


class Scheduler:
    """Decides alone where jobs run."""

    def __init__(
        self,
        database: Database,
        doorbell: DoorbellPublisher,
        settings: SchedulerSettings,
        lease: LeaseSettings,
    ) -> None:
        self._database = database
        self._doorbell = doorbell
        self._settings = settings
        self._lease = lease
        self._expire_from = 0.0  # monotonic: nothing is expired before

    async def run(self) -> None:
        """Work whenever this process is the leader, until cancelled."""
        while True:
            try:
                async with Leadership(self._database) as leadership:
                    log.info("scheduler.leading")
                    self._forgive_silence()
                    await self._lead(leadership)
            except DatabaseUnavailable as error:
                log.warning("scheduler.database_away", error=str(error))
                await asyncio.sleep(self._settings.tick_seconds)

    async def tick(self) -> None:
        """Do everything that can be done now."""
        if time.monotonic() >= self._expire_from:
            await self.expire()
        await self.place()
        await self.publish()

    async def expire(self) -> None:
        """Close the attempts that nobody claimed in time or whose runner is silent."""
        async with self._database.transaction() as session:
            for attempt in await attempts.list_expired(session):
                if attempt.status == AttemptStatus.PLACED:
                    ending = Ending(Reason.NOT_CLAIMED, "the node did not claim it in time")
                else:
                    ending = Ending(Reason.WORKER_LOST, "the runner's lease ran out")
                log.warning("attempt.expired", attempt_id=attempt.id, reason=ending.reason)
                await attempts.close(session, attempt, ending)

    async def place(self) -> None:
        """Give queued jobs their slots."""
        async with self._database.transaction() as session:
            placeable = await jobs.list_placeable(session)
            if not placeable:
                return
            for placement in place(placeable, await nodes.list_free(session)):
                try:
                    async with session.begin_nested():
                        attempt = await attempts.place(
                            session,
                            placement,
                            attempt_id=new_id("att"),
                            claim_timeout_seconds=self._settings.claim_timeout_seconds,
                        )
                except Conflict as error:  # the next tick sees what there is then
                    log.warning("job.not_placed", job_id=placement.job_id, error=error.message)
                    continue
                if attempt is not None:
                    log.info("job.placed", job_id=attempt.job_id, attempt=attempt.number)

    async def publish(self) -> None:
        """Ring the doorbells that are due; with the broker away they stay for the next tick."""
        async with self._database.transaction() as session:
            doorbells = await outbox.list_unrung(session)
        if not doorbells:
            return
        try:
            for node_id in {doorbell.node_id for doorbell in doorbells}:
                await asyncio.to_thread(self._doorbell.ring, node_id)
        except BrokerUnavailable as error:
            log.warning("doorbell.not_rung", error=str(error))
            return
        async with self._database.transaction() as session:
            await outbox.remove(session, [doorbell.id for doorbell in doorbells])

    async def _lead(self, leadership: Leadership) -> None:
        while True:
            started_at = time.monotonic()
            await self.tick()
            await leadership.wait(self._settings.tick_seconds)
            if time.monotonic() - started_at > self._lease.seconds / 2:
                self._forgive_silence()

    def _forgive_silence(self) -> None:
        """After a gap of our own, give every runner one whole lease to be heard again."""
        self._expire_from = time.monotonic() + self._lease.seconds
