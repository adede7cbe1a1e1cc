"""The node's agent on real Postgres."""

import pytest
from building import find_job

from services.database.tables import Node
from services.settings import LeaseSettings, WorkerSettings
from services.worker.node.agent import NodeAgent


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
