"""The runner's lease: renewed in Postgres, mirrored in the deadman file that the ranks watch."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from nvae_core.run_directory import RunDirectory
from services.database import attempts
from services.database.attempts import Claim, Orders
from services.database.session import Database, DatabaseUnavailable, Session
from services.domain.errors import LeaseLost
from services.domain.states import Reason
from services.settings import LeaseSettings

LOOK_SECONDS = 1.0
log = structlog.get_logger()


@dataclass
class HeardOrders:
    """What the runner has heard so far; a stop is never taken back, force may be added."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    stop_requested: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)  # a user forces its end
    reason: Reason | None = None
    forced: bool = False

    def hear(self, orders: Orders) -> None:
        """Take in what Postgres says now."""
        if orders.go:
            self.go.set()
        if orders.stop is not None:
            self.reason = self.reason or orders.stop
            self.forced = self.forced or orders.forced
            self.stop_requested.set()
            if orders.stop == Reason.CANCELLED_BY_USER:
                self.cancelled.set()
            if orders.forced and not attempts.is_failure(orders.stop):
                self.abandoned.set()


class Lease:
    """Keeps one share of an attempt alive and hears what its runner is to do."""

    def __init__(
        self,
        database: Database,
        settings: LeaseSettings,
        run_directory: RunDirectory,
        *,
        claim: Claim,
    ) -> None:
        self._database = database
        self._settings = settings
        self._run_directory = run_directory
        self._claim = claim
        self.orders = HeardOrders()
        self._is_to_say_leaving = False

    def leave(self) -> None:
        """End the attempt in order, on all its nodes: the machine or the stack goes down."""
        self.orders.hear(Orders(go=False, stop=Reason.DRAINED, forced=False))
        self._is_to_say_leaving = True

    async def hold(self) -> None:
        """Renew, and look in between, until cancelled.

        While Postgres is away the trainer goes on: nobody else can have claimed the attempt.

        Raises:
            LeaseLost: the attempt ended, or Postgres was away for longer than is allowed.
        """
        lease_ends_at = time.monotonic() + self._settings.seconds
        renew_at = time.monotonic()
        while True:
            asked_at = time.monotonic()
            try:
                if asked_at >= renew_at:
                    await self._ask(self._renew)
                    # Counted from before the question: it ends before the lease in Postgres does.
                    lease_ends_at = asked_at + self._settings.seconds
                    renew_at = asked_at + self._settings.renew_seconds
                elif self._is_to_say_leaving:
                    await self._ask(self._say_leaving)
                    self._is_to_say_leaving = False
                else:
                    await self._ask(self._look)
                self._extend_deadman(lease_ends_at)
            except (DatabaseUnavailable, TimeoutError) as error:
                log.warning("lease.not_renewed", error=repr(error))
                renew_at = 0.0
                now = time.monotonic()
                if now > lease_ends_at + self._settings.outage_grace_seconds:
                    raise LeaseLost("the lease could not be renewed in time") from error
                grace_ends_at = lease_ends_at + self._settings.outage_grace_seconds
                self._extend_deadman(min(now + self._settings.seconds, grace_ends_at))
            await asyncio.sleep(min(LOOK_SECONDS, self._settings.renew_seconds / 2))

    async def _ask(self, question: Callable[[Session], Awaitable[Orders]]) -> None:
        async def ask() -> Orders:
            async with self._database.transaction() as session:
                return await question(session)

        asking = asyncio.create_task(ask())
        try:
            await asyncio.wait({asking}, timeout=self._settings.renew_seconds)
        finally:
            # Without waiting: it can take seconds in which the ranks have to be told to go on.
            asking.cancel()
        if not asking.done():
            raise TimeoutError("Postgres does not answer")
        self.orders.hear(asking.result())

    async def _renew(self, session: Session) -> Orders:
        return await attempts.renew(session, self._claim, lease_seconds=self._settings.seconds)

    async def _say_leaving(self, session: Session) -> Orders:
        attempt = await attempts.fenced(session, self._claim)
        await attempts.request_stop(session, attempt, Reason.DRAINED)
        await session.flush()
        return await attempts.look(session, self._claim)

    async def _look(self, session: Session) -> Orders:
        return await attempts.look(session, self._claim)

    def _extend_deadman(self, deadline: float) -> None:
        try:
            self._run_directory.extend_deadman(deadline)
        except OSError as error:
            log.warning("lease.deadman_not_written", error=repr(error))
