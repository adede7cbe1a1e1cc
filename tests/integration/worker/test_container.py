"""The first process of a worker's container, run here as a process of its own."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select
from waiting import scaled, wait_until

from services.database.tables import Node
from services.processes import is_locked
from services.worker.node.container import take_node


@pytest.fixture
def start_container(service_environment, tmp_path):
    """Return a function that starts a container's first process on the shared nodes folder."""
    running = []

    def start():
        container = subprocess.Popen(
            [sys.executable, "-m", "services.worker.node.container"],
            env=os.environ
            | {
                "NVAE_CONTAINER_NODES_FOLDER": str(tmp_path),
                "NVAE_CONTAINER_NODE_NAME": "box",
                "NVAE_WORKER_SLOTS": "1",
                "NVAE_VERSION": "1.2.3",
            },
        )
        running.append(container)
        return container

    yield start
    for container in running:
        if container.poll() is None:
            container.terminate()
        container.wait(timeout=scaled(30))


def worker_of(container, *, other_than=None):
    """Return the pid of the worker, once there is one that holds the lock of its node."""
    lock = Path(f"/proc/{container.pid}/cwd/worker.lock")
    children = Path(f"/proc/{container.pid}/task/{container.pid}/children")

    def workers():
        pids = map(int, children.read_text().split())
        return [pid for pid in pids if b"services.worker\0" in command_of(pid)]

    wait_until(lambda: workers() not in ([], [other_than]) and is_locked(lock))
    [worker] = workers()
    return worker


def node_name_of(container):
    return Path(f"/proc/{container.pid}/cwd").readlink().name


def command_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def stored_nodes(database):
    async with database.transaction() as session:
        return list(await session.scalars(select(Node).order_by(Node.name)))


async def wait_for_nodes(database, count):
    async with asyncio.timeout(scaled(30)):
        while len(found := await stored_nodes(database)) < count:
            await asyncio.sleep(0.1)
    return found


def test_folder_is_taken_by_one_and_the_next_gets_another(tmp_path):
    first, second = take_node(tmp_path, "box"), take_node(tmp_path, "box")
    assert (first.name, second.name) == ("box-1", "box-2")
    os.close(first.lock)
    again = take_node(tmp_path, "box")
    assert (again.name, again.folder) == (first.name, first.folder)
    os.close(again.lock)
    os.close(second.lock)


async def test_worker_that_is_killed_is_started_anew(database, start_container):
    container = start_container()
    worker = worker_of(container)
    os.kill(worker, signal.SIGKILL)
    assert worker_of(container, other_than=worker) != worker
    assert container.poll() is None


async def test_worker_that_cannot_start_ends_the_container(start_container, monkeypatch):
    monkeypatch.setenv("NVAE_BROKER_URL", "nothing://")
    assert start_container().wait(timeout=scaled(30)) == 1


async def test_stopped_container_leaves_the_list_of_free_nodes_at_once(database, start_container):
    first, _ = start_container(), start_container()
    nodes = await wait_for_nodes(database, 2)
    assert [(node.name, node.version) for node in nodes] == [("box-1", "1.2.3"), ("box-2", "1.2.3")]
    name = node_name_of(first)
    [started_at] = [node.lease_expires_at for node in nodes if node.name == name]
    first.terminate()
    assert first.wait(timeout=scaled(30)) == 0
    [stopped] = [node for node in await stored_nodes(database) if node.name == name]
    assert stopped.lease_expires_at < started_at
