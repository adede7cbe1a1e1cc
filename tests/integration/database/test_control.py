"""Pause, resume, cancel, drain, deadlines, on real Postgres."""

import pytest
from building import (
    add_checkpoint,
    add_claimed_attempt,
    add_dataset,
    add_job,
    add_node,
    find_job,
    finish,
)
from sqlalchemy import text

from services.database import attempts, checkpoints, control, jobs, nodes, placement, timeouts
from services.domain.errors import Conflict
from services.domain.placement import place as decide
from services.domain.states import Reason


@pytest.fixture
async def node_id(database):
    await add_dataset(database)
    return await add_node(database)


@pytest.fixture
async def job(database, node_id):
    return await add_job(database, max_run_seconds=60)


@pytest.fixture
async def running(database, job, node_id):
    claim = await add_claimed_attempt(database, job, node_id)
    async with database.transaction() as session:
        await attempts.make_ready(session, claim)
    return claim


async def ask(database, what, job, **options):
    async with database.transaction() as session:
        return await what(session, job.id, **options)


async def stop_of(database, claim):
    async with database.transaction() as session:
        orders = await attempts.look(session, claim)
    return orders.stop, orders.forced


async def events_of(database, job):
    async with database.transaction() as session:
        return await jobs.list_events(session, job.id, after=0)


async def test_paused_job_leaves_its_node_and_resumes_at_the_back_of_no_queue(
    database, job, running, node_id
):
    assert (await ask(database, control.pause, job)).status == "stopping"
    assert await stop_of(database, running) == (Reason.PAUSED_BY_USER, False)
    with pytest.raises(Conflict, match="still stopping"):
        await ask(database, control.resume, job)
    await add_checkpoint(database, running, step=7)
    await finish(database, running, Reason.PAUSED_BY_USER, "stopped at step 7")
    paused = await find_job(database, job.id)
    assert (paused.status, paused.message) == ("paused", "stopped at step 7")
    assert (await ask(database, control.pause, job)).status == "paused"
    for _ in range(2):
        assert (await ask(database, control.resume, job)).status == "queued"
    second = await add_claimed_attempt(database, job, node_id)
    assert await stop_of(database, second) == (None, False)


async def test_job_can_be_paused_before_it_starts(database, job):
    assert (await ask(database, control.pause, job)).status == "paused"
    async with database.transaction() as session:
        assert await placement.list_placeable(session) == []
    assert (await ask(database, control.cancel, job)).status == "cancelled"
    with pytest.raises(Conflict, match="fork"):
        await ask(database, control.resume, job)


async def test_pause_can_become_a_cancel_and_a_cancel_can_become_forced(database, job, running):
    await ask(database, control.pause, job)
    await ask(database, control.cancel, job)
    with pytest.raises(Conflict, match="cancelled"):
        await ask(database, control.pause, job)
    await ask(database, control.cancel, job, forced=True)
    assert (await stop_of(database, running))[1] is True
    await finish(database, running, Reason.PAUSED_BY_USER)
    assert (await find_job(database, job.id)).status == "cancelled"


async def test_drained_job_goes_back_to_the_queue_at_once(database, job, running, node_id):
    async with database.transaction() as session:
        await nodes.cordon(session, node_id, cordoned=True)
    async with database.transaction() as session:
        await control.drain(session, node_id)
    assert await stop_of(database, running) == (Reason.DRAINED, False)
    assert (await find_job(database, job.id)).status == "running"
    await finish(database, running, Reason.DRAINED)
    async with database.transaction() as session:
        assert [queued.id for queued in await placement.list_placeable(session)] == [job.id]


async def test_job_that_has_run_for_as_long_as_it_may_is_stopped(database, job, running, node_id):
    async with database.transaction() as session:
        await timeouts.stop_overdue_jobs(session)
    assert await stop_of(database, running) == (None, False)
    await finish(database, running, Reason.WORKER_LOST)
    async with database.transaction() as session:  # it had run for 40 seconds then
        await session.execute(text("UPDATE jobs SET run_seconds = 40"))
    second = await add_claimed_attempt(database, job, node_id)
    async with database.transaction() as session:
        await attempts.make_ready(session, second)
        earlier = "UPDATE attempts SET started_at = started_at - interval '21 s'"
        await session.execute(text(f"{earlier} WHERE finished_at IS NULL"))
    async with database.transaction() as session:
        await timeouts.stop_overdue_jobs(session)
    assert await stop_of(database, second) == (Reason.DEADLINE_EXCEEDED, False)
    await finish(database, second, Reason.DEADLINE_EXCEEDED, "stopped at step 9")
    ended = await find_job(database, job.id)
    assert (ended.status, ended.reason) == ("failed", "deadline_exceeded")
    assert ended.run_seconds > 60


async def test_divergence_goes_back_to_the_last_checkpoint_but_one(database, job, node_id):
    for number in range(3):
        claim = await add_claimed_attempt(database, job, node_id)
        for step in (10 * number + 5, 10 * number + 10):
            await add_checkpoint(database, claim, step=step)
        await finish(database, claim, Reason.NON_FINITE_LOSS)
        async with database.transaction() as session:
            newest = await checkpoints.newest(session, job.id)
        assert newest.step == 10 * number + 5
    claim = await add_claimed_attempt(database, job, node_id)
    await finish(database, claim, Reason.NON_FINITE_LOSS)
    assert (await find_job(database, job.id)).status == "failed"
    told = [event.data for event in await events_of(database, job) if event.type == "intervened"]
    assert [data["number"] for data in told] == [1, 2, 3]
    assert [data["from_step"] for data in told] == [5, 15, 25]
    assert told[2]["learning_rate"] < told[1]["learning_rate"] < told[0]["learning_rate"]
    assert len({data["seed"] for data in told}) == 3


async def test_corrupt_checkpoint_is_set_aside_for_the_one_before(database, job, node_id):
    claim = await add_claimed_attempt(database, job, node_id)
    for step in (5, 10):
        await add_checkpoint(database, claim, step=step)
    await finish(database, claim, Reason.CHECKPOINT_CORRUPT)
    async with database.transaction() as session:
        assert (await checkpoints.newest(session, job.id)).step == 5
    claim = await add_claimed_attempt(database, job, node_id)
    await finish(database, claim, Reason.CHECKPOINT_CORRUPT)
    claim = await add_claimed_attempt(database, job, node_id)
    await finish(database, claim, Reason.CHECKPOINT_CORRUPT)
    ended = await find_job(database, job.id)
    assert (ended.status, ended.reason) == ("failed", "checkpoint_corrupt")


async def test_node_that_failed_a_job_twice_is_avoided(database, job, node_id):
    for _ in range(2):
        async with database.transaction() as session:
            [queued] = await placement.list_placeable(session)
        assert queued.avoided == frozenset()
        claim = await add_claimed_attempt(database, job, node_id)
        await add_checkpoint(database, claim, step=claim.fence)
        await finish(database, claim, Reason.WORKER_LOST)
    async with database.transaction() as session:
        [queued] = await placement.list_placeable(session)
    assert queued.avoided == {node_id}


@pytest.mark.parametrize("reason", [Reason.GPU_UNAVAILABLE, Reason.DEVICE_ERROR])
async def test_job_leaves_a_node_with_a_broken_gpu_unless_there_is_no_other(
    reason, database, job, node_id
):
    claim = await add_claimed_attempt(database, job, node_id)
    await finish(database, claim, reason)
    waiting = await find_job(database, job.id)
    assert (waiting.status, waiting.reason) == ("queued", "waiting_for_retry")
    other_id = await add_node(database, "other")
    async with database.transaction() as session:
        queue = await placement.list_placeable(session)
        [broken, other] = sorted(await nodes.list_free(session), key=lambda one: one.id == other_id)
    for open_nodes, chosen in (([broken], node_id), ([broken, other], other_id)):
        [placed] = decide(queue, open_nodes).placements
        assert [share.node_id for share in placed.shares] == [chosen]
