"""The node's agent on real Postgres."""

import threading

import pytest
from building import find_job

from services.database import nodes
from services.database.tables import Node
from services.settings import LeaseSettings, WorkerSettings
from services.worker.node import agent as module
from services.worker.node.agent import NodeAgent
from services.worker.slots import gpu_inventory


@pytest.fixture
def agent(database, tmp_path):
    settings = WorkerSettings(node_name="n1", data_folder=tmp_path, slots=2)
    return NodeAgent(settings, database, LeaseSettings())


async def test_worker_that_comes_back_is_the_same_node(agent, node_id):
    assert await agent.register() == node_id


async def test_attempt_without_a_runner_goes_back_to_the_queue(database, agent, claim, job):
    await agent.register()
    await agent.look()
    job = await find_job(database, job.id)
    assert (job.status, job.reason) == ("queued", "waiting_for_retry")
    assert "runner on n1 died" in job.message


async def test_node_tells_with_each_look_what_room_its_disk_has(database, agent):
    node_id = await agent.register()
    await agent.look()
    async with database.transaction() as session:
        node = await session.get_one(Node, node_id)
    assert 0 < node.disk_free_bytes <= node.disk_bytes


async def free_slots(database, node_id):
    async with database.transaction() as session:
        return (await nodes.free_slots(session)).get(node_id, ())


async def test_gpu_that_is_lost_is_offered_no_more_and_again_when_it_is_back(
    database, agent, monkeypatch
):
    gpus = ["GPU-a", "GPU-b"]
    monkeypatch.setattr(module, "take_inventory", lambda _: gpu_inventory(tuple(gpus), ()))
    node_id = await agent.register()
    assert await free_slots(database, node_id) == (0, 1)
    del gpus[0]
    await agent.look_at_gpus()
    assert await free_slots(database, node_id) == (1,)
    gpus.insert(0, "GPU-a")
    await agent.look_at_gpus()
    assert await free_slots(database, node_id) == (0, 1)


async def test_driver_that_hangs_costs_the_gpus_and_not_the_node(database, agent, monkeypatch):
    answers = threading.Event()
    asked = []

    def hang(_):
        asked.append(None)
        answers.wait()
        return gpu_inventory(("GPU-a",), ())

    monkeypatch.setattr(module, "take_inventory", hang)
    monkeypatch.setattr(module, "DRIVER_ANSWERS_SECONDS", 0.1)
    try:
        node_id = await agent.register()
        await agent.look()
        await agent.look_at_gpus()
        assert await free_slots(database, node_id) == ()
        assert len(asked) == 1
    finally:
        answers.set()
    monkeypatch.setattr(module, "DRIVER_ANSWERS_SECONDS", 60)
    await agent.look_at_gpus()
    assert await free_slots(database, node_id) == (0,)
