"""Slots of GPUs keep their device, whichever of a node's GPUs come and go; on real Postgres."""

import pytest
from building import add_claimed_attempt, add_dataset, add_job, add_node, finish, place

from services.database import attempts, nodes
from services.database.counts import read_counts
from services.database.nodes import number_devices
from services.domain.errors import Conflict
from services.domain.states import Reason

GPUS = ["GPU-a", "GPU-b", "GPU-c"]


@pytest.fixture
async def job(database):
    await add_dataset(database)
    return await add_job(database)


async def free_slots(database, node_id):
    async with database.transaction() as session:
        [node] = [one for one in await nodes.list_free(session) if one.id == node_id]
    return node.free, node.num_slots


async def devices_of(database, claim, node_id):
    async with database.transaction() as session:
        return await attempts.slots_of(session, claim.attempt_id, node_id)


async def test_attempt_has_the_devices_of_its_slots(database, job):
    node_id = await add_node(database, devices=GPUS)
    await place(database, job, [node_id], slots=(1,))
    async with database.transaction() as session:
        [claim] = await attempts.claim(session, node_id, lease_seconds=30)
    assert await devices_of(database, claim, node_id) == ("GPU-b",)


async def test_slot_of_cores_has_a_number(database, job):
    node_id = await add_node(database)
    claim = await add_claimed_attempt(database, job, node_id)
    assert await devices_of(database, claim, node_id) == ("0",)


async def test_lost_gpu_is_offered_no_more_and_the_others_stay_who_they_are(database, job):
    node_id = await add_node(database, devices=GPUS)
    claim = await add_claimed_attempt(database, job, node_id)
    await add_node(database, devices=GPUS[1:])  # an attempt has the one that is lost
    assert await free_slots(database, node_id) == ((1, 2), 2)
    assert await devices_of(database, claim, node_id) == ("GPU-a",)
    await finish(database, claim, Reason.WORKER_LOST)
    assert await free_slots(database, node_id) == ((1, 2), 2)
    with pytest.raises(Conflict):
        await place(database, job, [node_id], slots=(0,))
    async with database.transaction() as session:
        counted = (await read_counts(session)).counts["slots"]
    assert [pair for pair in counted if pair[1]] == [(("gpu", "free"), 2.0)]
    await add_node(database, devices=GPUS)
    assert await free_slots(database, node_id) == ((0, 1, 2), 3)


async def test_node_whose_driver_fails_offers_nothing_until_it_is_back(database, job):
    node_id = await add_node(database, devices=[])
    assert await free_slots(database, node_id) == ((), 0)
    await add_node(database, devices=GPUS)
    assert await free_slots(database, node_id) == ((0, 1, 2), 3)


async def test_slots_of_a_worker_that_knew_no_devices_get_theirs_in_order(database, job):
    node_id = await add_node(database, num_slots=3)
    claim = await add_claimed_attempt(database, job, node_id)
    await add_node(database, devices=GPUS)
    assert await devices_of(database, claim, node_id) == ("GPU-a",)
    assert await free_slots(database, node_id) == ((1, 2), 3)
    await add_node(database, num_slots=2)  # and that of one whose GPUs were taken away
    assert await free_slots(database, node_id) == ((1,), 2)


@pytest.mark.parametrize(
    ("stored", "held", "numbered"),
    [
        ({}, set(), {0: "GPU-a", 1: "GPU-b", 2: "GPU-c"}),
        ({0: "GPU-c", 1: "GPU-b"}, {1}, {0: "GPU-c", 1: "GPU-b", 2: "GPU-a"}),
        ({0: "GPU-x", 1: "GPU-y"}, {0}, {1: "GPU-a", 2: "GPU-b", 3: "GPU-c"}),
        ({0: None, 1: "GPU-a", 2: None}, {0, 2}, {1: "GPU-a", 3: "GPU-b", 2: "GPU-c"}),
    ],
)
def test_each_device_has_one_slot_and_none_that_is_held_for_another(stored, held, numbered):
    assert number_devices(GPUS, stored=stored, held=held) == numbered
