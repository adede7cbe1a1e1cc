"""The active scheduler's loop: expire, stop, place, publish; each in transactions of its own."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from services.database import attempts, jobs, nodes, placement, timeouts
from services.database.leadership import Leadership
from services.database.session import Database, DatabaseUnavailable, Session, new_id
from services.database.tables import Attempt
from services.domain.errors import Conflict
from services.domain.placement import Placement, place
from services.messaging.celery import BrokerUnavailable, DoorbellPublisher
from services.settings import LeaseSettings, SchedulerSettings
from services.telemetry import tracing

PLACE_SECONDS = 2.0
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
        self._placed = asyncio.Event()

    async def run(self, *, while_leading: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Work whenever this process is the leader, until cancelled.

        Args:
            while_leading: what else the leader does, cancelled when another one leads.
        """
        while True:
            try:
                async with Leadership(self._database) as leadership:
                    log.info("scheduler.leading")
                    self._forgive_silence()
                    beside = [
                        asyncio.create_task(work()) for work in (while_leading, self._ring_nodes)
                    ]
                    try:
                        await self._lead(leadership)
                    finally:
                        for task in beside:
                            task.cancel()
            except DatabaseUnavailable as error:
                log.warning("scheduler.database_away", error=str(error))
                await asyncio.sleep(self._settings.tick_seconds)

    async def tick(self) -> bool:
        """Do what can be done now, but for the doorbells; whether there was time for all of it."""
        if time.monotonic() >= self._expire_from:
            await self.expire()
        await self.stop_overdue()
        placed_all = await self.place()
        self._placed.set()
        return placed_all

    async def expire(self) -> None:
        """End what nobody claimed in time, and what is silent or did not get ready."""
        asked_at = time.monotonic()
        async with self._database.transaction() as session:
            expired = await timeouts.list_expired(session)
            unready = await timeouts.list_unready(session, self._settings.ready_timeout_seconds)
        if time.monotonic() - asked_at > self._lease.seconds / 2:
            self._forgive_silence()  # nobody could be heard either
            return
        for job_id, attempt_id in expired:
            async with self._database.transaction() as session:
                if attempt := await attempts.lock_live(session, job_id, attempt_id):
                    await self._finish_expired(session, attempt)
        for job_id, attempt_id in unready:
            async with self._database.transaction() as session:
                if attempt := await attempts.lock_live(session, job_id, attempt_id):
                    await timeouts.give_up_unready(session, attempt)
                    log.warning("attempt.not_ready", attempt_id=attempt_id)

    async def _finish_expired(self, session: Session, attempt: Attempt) -> None:
        parent = await jobs.placement_traceparent(session, attempt.id)
        for outcome in await timeouts.finish_expired(
            session, attempt, lease_seconds=self._lease.seconds
        ):
            with tracing.span("expire lease", parent=parent) as span:
                tracing.fail(span, outcome.message)
                span.set_attribute("nvae.reason", outcome.reason)
                log.warning("lease.expired", attempt_id=attempt.id, message=outcome.message)

    async def stop_overdue(self) -> None:
        """Stop the jobs that have run for as long as they may."""
        async with self._database.transaction() as session:
            await timeouts.stop_overdue_jobs(session)

    async def place(self) -> bool:
        """Give queued jobs their slots, and say of the others why they wait.

        A leader that is silent for too long is dismissed, so not all of a long queue may be
        placed at once; whether it was.
        """
        async with self._database.transaction() as session:
            placeable = await placement.list_placeable(session)
            free = await nodes.list_free(session) if placeable else []
        decisions = place(placeable, free)
        until = time.monotonic() + PLACE_SECONDS
        for decision in decisions.placements:
            await self._place(decision)
            if time.monotonic() > until:
                return False
        if decisions.waits:
            async with self._database.transaction() as session:
                await placement.explain_waits(session, decisions.waits)
        return True

    async def _place(self, decision: Placement) -> None:
        try:
            with tracing.span("place job", parent=await self._request_of(decision.job_id)) as span:
                async with self._database.transaction() as session:
                    attempt = await placement.place(
                        session,
                        decision,
                        attempt_id=new_id("att"),
                        claim_timeout_seconds=self._settings.claim_timeout_seconds,
                        ports=self._settings.ports,
                    )
                tracing.describe(span, _described(decision, attempt))
                if attempt is not None:
                    log.info("job.placed", job_id=attempt.job_id, attempt=attempt.number)
        except Conflict as error:  # the next tick sees what there is then
            log.warning("job.not_placed", job_id=decision.job_id, error=error.message)

    async def _request_of(self, job_id: str) -> str | None:
        """Return the `traceparent` that the attempts of a job are below."""
        if not tracing.is_on():
            return None
        async with self._database.transaction() as session:
            return await jobs.submission_traceparent(session, job_id)

    async def publish(self) -> None:
        """Ring the doorbells that are due; with the broker away they stay for the next tick."""
        async with self._database.transaction() as session:
            doorbells = await placement.list_doorbells(session)
        if not doorbells:
            return
        try:
            for node_id in {doorbell.node_id for doorbell in doorbells}:
                await asyncio.to_thread(self._doorbell.ring, node_id)
        except BrokerUnavailable as error:
            log.warning("doorbell.not_rung", error=str(error))
            return
        async with self._database.transaction() as session:
            await placement.remove_doorbells(session, [doorbell.id for doorbell in doorbells])

    async def _lead(self, leadership: Leadership) -> None:
        while True:
            if await leadership.beat() > self._lease.seconds / 2:
                self._forgive_silence()
            if await self.tick():
                await leadership.wait(self._settings.tick_seconds)

    async def _ring_nodes(self) -> None:
        """Publish the outbox whenever something was placed; a slow broker holds up nothing else."""
        while True:
            await self._placed.wait()
            self._placed.clear()
            try:
                await self.publish()
            except DatabaseUnavailable as error:
                log.warning("doorbell.not_rung", error=str(error))

    def _forgive_silence(self) -> None:
        """After a gap of ours or of Postgres, give all one whole lease to be heard again."""
        self._expire_from = time.monotonic() + self._lease.seconds


def _described(decision: Placement, attempt: Attempt | None) -> tracing.Attributes:
    """Return what a span tells of a placement; the attempt is None if nobody waits for it now."""
    return {
        "nvae.job.id": decision.job_id,
        "nvae.attempt.id": attempt.id if attempt else None,
        "nvae.attempt.number": attempt.number if attempt else None,
        "nvae.num_nodes": len(decision.shares),
    }
