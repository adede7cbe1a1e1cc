"""The client against the API over HTTP."""

import asyncio
from datetime import UTC, datetime

import pytest
import uvicorn
from building import add_claimed_attempt, add_dataset, add_job, add_key, add_node

from nvae_client import NvaeClient
from services.api.app import create_app
from services.database import attempts, metrics
from services.database.metrics import MetricValues
from services.local.state import HOST, free_ports


@pytest.fixture
async def client(make_stores, database):
    [port] = free_ports(1)
    config = uvicorn.Config(create_app(make_stores()), host=HOST, port=port, log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)
    with NvaeClient(f"http://{HOST}:{port}", await add_key(database)) as client:
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
        await metrics.add_metrics(session, live, lines)
    seen = await asyncio.to_thread(client.jobs.get, job.id)
    everything = await asyncio.to_thread(seen.metrics)
    assert {name: len(series["step"]) for name, series in everything.items()} == {
        "kl": 100,
        "loss": 100,
        "x": 100,
    }
    some = await asyncio.to_thread(
        seen.metrics, names=["loss", "kl"], from_step=10, to_step=59, max_points=20
    )
    assert list(some) == ["kl", "loss"]
    assert (some["loss"]["value"][0], some["loss"]["value"][-1]) == (10.0, 59.0)
    assert len(some["loss"]["step"]) <= 20
