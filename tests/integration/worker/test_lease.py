"""The lease on real Postgres: renewed, lost, and the ear for a cancel."""

import asyncio
import time

import pytest
from building import find_attempt, find_job, finish

from services.database import attempts, control, timeouts
from services.domain.errors import LeaseLost
from services.domain.states import Reason
from services.settings import LeaseSettings
from services.worker.runner.lease import Lease


@pytest.fixture
async def lease(database, run_directory, claim):
    settings = LeaseSettings(seconds=0.9)
    lease = Lease(database, settings, run_directory, claim=claim)
    task = asyncio.create_task(lease.hold())
    yield lease, task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_held_lease_does_not_run_out(database, lease, run_directory):
    await asyncio.sleep(1.5)
    async with database.transaction() as session:
        assert await timeouts.list_expired(session) == []
    assert not run_directory.deadman_expired()
    assert run_directory.deadman_expired(now=time.monotonic() + 1)


async def test_cancel_is_heard_at_the_next_renewal(database, lease, claim, job):
    async with database.transaction() as session:
        await control.cancel(session, job.id)
    async with asyncio.timeout(5):
        await lease[0].orders.stop_requested.wait()
    assert (await find_job(database, job.id)).status == "stopping"


async def test_attempt_that_was_closed_loses_its_lease(database, lease, claim, job):
    await finish(database, claim, Reason.WORKER_LOST)
    async with asyncio.timeout(5):
        with pytest.raises(LeaseLost):
            await lease[1]


async def test_renewal_that_waits_too_long_is_tried_again(database, lease, claim, job):
    async with database.transaction() as session:  # somebody holds the row
        await attempts.fenced(session, claim)
        await asyncio.sleep(0.5)
    await asyncio.sleep(0.6)
    assert not lease[1].done()


async def test_runner_that_has_to_leave_says_so_to_all_nodes(database, lease, claim):
    lease[0].leave()
    assert lease[0].orders.reason == Reason.DRAINED
    async with asyncio.timeout(5):
        while (await find_attempt(database, claim.attempt_id)).stop_reason != "drained":
            await asyncio.sleep(0.05)
    assert not lease[1].done()
