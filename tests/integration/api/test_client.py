"""The client against the API over HTTP."""

import asyncio
from datetime import UTC, datetime

import pytest
import uvicorn
from building import add_claimed_attempt, add_dataset, add_job, add_node

from nvae_client import NvaeClient
from services.adapters.postgres import attempts, results
from services.adapters.postgres.metrics import MetricValues
from services.api.app import create_app
from services.api.dependencies import Stores
from services.api.watching import JobWatch
from services.local.ports import HOST, free_ports


@pytest.fixture
async def client(database, storage, doorbell):
    stores = Stores(
        database=database,
        storage=storage,
        doorbell=doorbell,
        s3_prefixes=(),
        watch=JobWatch(database),
    )
    [port] = free_ports(1)
    config = uvicorn.Config(create_app(stores), host=HOST, port=port, log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)
    with NvaeClient(f"http://{HOST}:{port}") as client:
        yield client
    server.should_exit = True
    await serving


async def test_client_gets_the_metrics_that_it_asks_for(client, database):
    await add_dataset(database)
    node_id = await add_node(database)
    job = await add_job(database)
    claim = await add_claimed_attempt(database, job, node_id)
    lines = [
        MetricValues(step, datetime.now(UTC), {"loss": float(step), "kl": 1.0, "x": 2.0})
        for step in range(100)
    ]
    async with database.transaction() as session:
        live = await attempts.fenced(session, claim)
        await results.add_metrics(session, live, lines)
    everything = await asyncio.to_thread(client.metrics, job.id)
    assert {name: len(series["steps"]) for name, series in everything.items()} == {
        "kl": 100,
        "loss": 100,
        "x": 100,
    }
    some = await asyncio.to_thread(
        client.metrics, job.id, names=["loss", "kl"], from_step=10, to_step=59, max_points=20
    )
    assert list(some) == ["kl", "loss"]
    assert (some["loss"]["values"][0], some["loss"]["values"][-1]) == (10.0, 59.0)
    assert len(some["loss"]["steps"]) <= 20
