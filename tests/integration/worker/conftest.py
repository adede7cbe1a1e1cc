"""A claimed attempt with its run directory."""

import pytest
from building import add_claimed_attempt, add_dataset, add_job, add_node

from nvae_core.run_directory import RunDirectory


@pytest.fixture
async def node_id(database):
    await add_dataset(database)
    return await add_node(database)


@pytest.fixture
async def job(database, node_id):
    return await add_job(database)


@pytest.fixture
async def claim(database, job, node_id):
    return await add_claimed_attempt(database, job, node_id)


@pytest.fixture
def run_directory(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.logs.mkdir(parents=True)
    return directory
