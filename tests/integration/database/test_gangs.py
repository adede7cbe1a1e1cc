"""Attempts on several nodes: ready, go, and the first cause ends it everywhere."""

import pytest
from building import (
    add_dataset,
    add_gang,
    add_job,
    add_node,
    find_attempt,
    find_job,
    finish,
    place,
)

from services.database import attempts, control, nodes, timeouts
from services.domain.errors import Conflict, LeaseLost
from services.domain.states import Reason


@pytest.fixture
async def node_ids(database):
    await add_dataset(database)
    return [await add_node(database, name) for name in ("a", "b", "c")]


@pytest.fixture
async def job(database, node_ids):
    return await add_job(database, resources={"nodes": 3, "slots": 2})


@pytest.fixture
async def claims(database, job, node_ids):
    return await add_gang(database, job, node_ids)


async def make_ready(database, claim):
    async with database.transaction() as session:
        return await attempts.make_ready(session, claim)


async def look(database, claim):
    async with database.transaction() as session:
        return await attempts.look(session, claim)


async def free_nodes(database):
    async with database.transaction() as session:
        return await nodes.list_free(session)


async def num_free(database):
    return sum(len(node.free) for node in await free_nodes(database))


async def test_trainers_start_when_the_last_node_is_ready(database, job, claims):
    orders = [await make_ready(database, claim) for claim in claims]
    assert [order.go for order in orders] == [False, False, True]
    assert [(await look(database, claim)).go for claim in claims] == [True] * 3
    assert (await find_job(database, job.id)).status == "running"


async def test_gang_meets_at_a_port_that_no_other_attempt_has_there(database, claims, node_ids):
    await add_node(database, "a", num_slots=4)
    await add_node(database, "b", num_slots=4)
    other = await add_job(database, resources={"nodes": 2, "slots": 2})
    first = await find_attempt(database, claims[0].attempt_id)
    second = await place(database, other, node_ids[:2], slots=(2, 3))
    assert None not in {first.port, second.port}
    assert first.port != second.port


async def test_failure_of_one_node_stops_the_others_at_their_next_look(database, job, claims):
    for claim in claims:
        await make_ready(database, claim)
    await finish(database, claims[1], Reason.STALLED, "rank 2 hangs")
    for claim in (claims[0], claims[2]):
        orders = await look(database, claim)
        assert (orders.stop, orders.forced) == (Reason.STALLED, True)
    assert (await find_job(database, job.id)).status == "running"  # not before all have let go
    assert await num_free(database) == 2
    for claim in (claims[0], claims[2]):
        await finish(database, claim, None)
    ended = await find_job(database, job.id)
    assert (ended.status, ended.reason) == ("queued", "waiting_for_retry")
    assert "rank 2 hangs" in ended.message
    assert await num_free(database) == 6


async def test_runner_that_is_silent_ends_the_attempt_and_its_node_is_named(
    database, job, node_ids
):
    claims = await add_gang(database, job, node_ids, lease_seconds=30)
    async with database.transaction() as session:
        await attempts.renew(session, claims[2], lease_seconds=-1)
        assert await timeouts.list_expired(session) == [(job.id, claims[2].attempt_id)]
        attempt = await attempts.lock_live(session, job.id, claims[2].attempt_id)
        [outcome] = await timeouts.finish_expired(session, attempt, lease_seconds=30)
    assert outcome.reason == Reason.WORKER_LOST
    assert len(await free_nodes(database)) == 3
    attempt = await find_attempt(database, claims[0].attempt_id)
    assert attempt.failed_node_id == node_ids[2]
    with pytest.raises(LeaseLost):
        await look(database, claims[2])


async def test_node_that_is_silent_gets_no_job_while_its_own_lease_still_runs(
    database, job, claims, node_ids
):
    async with database.transaction() as session:
        await nodes.renew(session, node_ids[2], lease_seconds=10)  # it renewed after its runner
        await attempts.renew(session, claims[2], lease_seconds=-1)
        attempt = await attempts.lock_live(session, job.id, claims[2].attempt_id)
        [outcome] = await timeouts.finish_expired(session, attempt, lease_seconds=30)
    assert outcome.reason == Reason.NODE_LOST
    assert {node.id for node in await free_nodes(database)} == set(node_ids[:2])
    async with database.transaction() as session:
        await nodes.renew(session, node_ids[2], lease_seconds=30)
    assert len(await free_nodes(database)) == 3


async def test_rank_that_misses_another_is_not_taken_for_the_cause(database, job, claims):
    for claim in claims:
        await make_ready(database, claim)
    await finish(database, claims[0], Reason.PEER_LOST)
    await finish(database, claims[1], Reason.OUT_OF_MEMORY, "no memory left")
    await finish(database, claims[2], Reason.PEER_LOST)
    ended = await find_job(database, job.id)
    assert (ended.status, ended.message) == ("failed", "no memory left")


async def test_success_of_rank_0_stands_whatever_becomes_of_the_others(database, job, claims):
    for claim in claims:
        await make_ready(database, claim)
    await finish(database, claims[0], Reason.SUCCEEDED, "done", {"step": 5})
    assert (await find_job(database, job.id)).status == "running"
    assert (await look(database, claims[1])).stop is None
    await finish(database, claims[1], None)
    await finish(database, claims[2], Reason.WORKER_LOST)
    ended = await find_job(database, job.id)
    assert (ended.status, ended.result) == ("succeeded", {"step": 5})


async def test_gang_with_a_node_that_does_not_get_ready_is_released(database, job, claims):
    await make_ready(database, claims[0])
    await make_ready(database, claims[2])
    async with database.transaction() as session:
        assert await timeouts.list_unready(session, 60) == []
        [(job_id, attempt_id)] = await timeouts.list_unready(session, -1)
        attempt = await attempts.lock_live(session, job_id, attempt_id)
        await timeouts.give_up_unready(session, attempt)
    for claim in claims:
        assert (await look(database, claim)).stop == Reason.NODE_NOT_READY
        await finish(database, claim, None)
    ended = await find_job(database, job.id)
    assert (ended.status, ended.reason) == ("queued", "waiting_for_retry")
    assert "node b did not get ready" in ended.message


async def test_cancel_before_any_node_has_claimed_takes_no_node(database, job, node_ids):
    await place(database, job, node_ids)
    async with database.transaction() as session:
        cancelled = await control.cancel(session, job.id)
    assert cancelled.status == "cancelled"
    assert await num_free(database) == 6


async def test_gang_is_not_placed_on_a_node_that_was_cordoned_meanwhile(database, job, node_ids):
    async with database.transaction() as session:
        await nodes.cordon(session, node_ids[1], cordoned=True)
    with pytest.raises(Conflict, match="b was cordoned"):
        await place(database, job, node_ids)
    assert (await find_job(database, job.id)).status == "queued"
    assert (await find_job(database, job.id)).num_attempts == 0
