"""The scheduler's tick on real Postgres and a real broker."""

import asyncio
import contextlib

import pytest
from building import add_claimed_attempt, add_dataset, add_job, add_node, find_attempt, find_job
from sqlalchemy import text

from services.database import attempts, placement
from services.database.leadership import Leadership
from services.messaging.celery import DoorbellPublisher
from services.scheduler.scheduler import Scheduler
from services.settings import BrokerSettings, LeaseSettings, SchedulerSettings


@pytest.fixture
def scheduler(database, doorbell):
    return Scheduler(database, doorbell, SchedulerSettings(), LeaseSettings())


@pytest.fixture
async def node_id(database):
    await add_dataset(database)
    return await add_node(database)


async def unrung(database):
    async with database.transaction() as session:
        return [doorbell.node_id for doorbell in await placement.list_doorbells(session)]


async def let_leases_run_out(database):
    async with database.transaction() as session:
        await session.execute(text("UPDATE members SET lease_expires_at = clock_timestamp()"))


async def test_tick_places_a_queued_job_and_rings_its_node(database, scheduler, node_id):
    job = await add_job(database)
    await scheduler.tick()
    assert (await find_job(database, job.id)).status == "starting"
    await scheduler.publish()
    assert await unrung(database) == []
    async with database.transaction() as session:
        [claim] = await attempts.claim(session, node_id, lease_seconds=30)
    assert (await find_attempt(database, claim.attempt_id)).job_id == job.id


async def test_job_waits_while_no_slot_is_free(database, scheduler, node_id):
    first, second = [await add_job(database, resources={"slots": 2}) for _ in range(2)]
    await scheduler.tick()
    await scheduler.tick()
    statuses = [(await find_job(database, job.id)).status for job in (first, second)]
    assert statuses == ["starting", "queued"]


async def test_dead_node_gets_no_job(database, scheduler):
    await add_dataset(database)
    await add_node(database, lease_seconds=-1)
    job = await add_job(database)
    await scheduler.tick()
    assert (await find_job(database, job.id)).status == "queued"


async def test_doorbell_stays_in_the_outbox_while_the_broker_is_away(database, node_id):
    away = DoorbellPublisher(BrokerSettings(url="redis://127.0.0.1:1/0"))
    job = await add_job(database)
    await Scheduler(database, away, SchedulerSettings(), LeaseSettings()).tick()
    assert (await find_job(database, job.id)).status == "starting"
    assert await unrung(database) == [node_id]
    away.close()


async def test_placement_that_nobody_claims_goes_back_to_the_queue(database, scheduler, node_id):
    job = await add_job(database)
    await scheduler.tick()
    await let_leases_run_out(database)
    await scheduler.expire()
    stored = await find_job(database, job.id)
    assert (stored.status, stored.num_attempts) == ("queued", 1)
    assert "did not claim" in stored.message


async def test_expired_lease_returns_the_job_to_the_queue(database, scheduler, node_id):
    job = await add_job(database)
    await add_claimed_attempt(database, job, node_id)
    await let_leases_run_out(database)
    await scheduler.expire()
    assert (await find_job(database, job.id)).reason == "waiting_for_retry"
    await scheduler.place()
    assert (await find_job(database, job.id)).num_attempts == 2


async def test_only_one_of_two_schedulers_leads(database, doorbell, node_id):
    settings = SchedulerSettings(tick_seconds=0.05)
    led = []

    async def lead():
        led.append(asyncio.current_task())

    tasks = [
        asyncio.create_task(
            Scheduler(database, doorbell, settings, LeaseSettings()).run(while_leading=lead)
        )
        for _ in range(2)
    ]
    job = await add_job(database)
    async with asyncio.timeout(10):
        while (await find_job(database, job.id)).status == "queued":
            await asyncio.sleep(0.05)
    query = "SELECT granted FROM pg_locks WHERE locktype = 'advisory'"
    async with database.transaction() as session:
        granted = sorted((await session.execute(text(query))).scalars())
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert granted == [True]
    assert len(led) == 1
    assert (await find_job(database, job.id)).num_attempts == 1


async def test_leader_whose_database_hung_gives_everybody_a_lease_more(database, doorbell, node_id):
    job = await add_job(database)
    claim = await add_claimed_attempt(database, job, node_id)
    settings, lease = SchedulerSettings(tick_seconds=0.05), LeaseSettings(seconds=2)
    scheduler = Scheduler(database, doorbell, settings, lease)
    leading = asyncio.create_task(scheduler.run(while_leading=asyncio.Event().wait))
    await asyncio.sleep(2.5)  # it does not expire anything as soon as it leads
    async with database.transaction() as session:  # as after a minute in which Postgres hung
        for table, column in (("leaders", "seen_at"), ("members", "lease_expires_at")):
            back = f"UPDATE {table} SET {column} = {column} - interval '1 minute'"
            await session.execute(text(back))
    await asyncio.sleep(1)
    assert (await find_attempt(database, claim.attempt_id)).reason is None
    async with asyncio.timeout(10):
        while (await find_attempt(database, claim.attempt_id)).reason is None:
            await asyncio.sleep(0.05)
    leading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leading


async def test_leader_is_told_how_long_nobody_led(database):
    async with Leadership(database) as leadership:
        assert await leadership.beat() < 1
        async with database.transaction() as session:
            await session.execute(text("UPDATE leaders SET seen_at = seen_at - interval '1 hour'"))
        assert await leadership.beat() > 3599


async def test_worker_of_another_version_of_the_protocol_gets_no_job(database, scheduler, node_id):
    async with database.transaction() as session:
        await session.execute(text("UPDATE nodes SET protocol = 1"))
    job = await add_job(database)
    await scheduler.tick()
    waiting = await find_job(database, job.id)
    assert (waiting.status, waiting.message) == (
        "queued",
        "no node is in service: start a worker, or uncordon a node",
    )
