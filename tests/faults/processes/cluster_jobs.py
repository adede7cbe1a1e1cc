"""Submit, cancel, pause and resume jobs, and drain nodes, as the API does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from building import add_dataset, add_job
from cluster import Cluster
from sqlalchemy import select

from nvae_core.config import BundledSource
from services.api.jobs.submission import register_dataset, submit_job
from services.database import control, nodes
from services.database.session import Database, Session
from services.database.tables import Job, Node
from services.domain.specs import DatasetSpec, TrainSpec
from services.settings import DatabaseSettings

T = TypeVar("T")

TRAIN_SPEC = {
    "kind": "train",
    "preset": "mnist-test",
    "dataset": "digits",
    "checkpoint": {"every_steps": 5},
    "validation": {"every_steps": 20, "num_images": 50},
    "seed": 11,
}


def run(url: str, work: Callable[[Database], Awaitable[T]]) -> T:
    """Do something with the database, on a loop and connections of its own."""

    async def do() -> T:
        database = Database(DatabaseSettings(url=url))
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(do())


def within(url: str, work: Callable[[Session], Awaitable[T]]) -> T:
    """Do something in one transaction."""

    async def do(database: Database) -> T:
        async with database.transaction() as session:
            return await work(session)

    return run(url, do)


def add_images(url: str) -> None:
    """Register the data set `mnist`, which has no files: stand-in trainers read none."""
    run(url, add_dataset)


def submit(
    url: str, *, steps: int, step_ms: int = 20, every: int = 10, seed: int = 0, **fields: object
) -> str:
    """Submit a job for the stand-in trainer and return its id."""

    async def add(database: Database) -> Job:
        return await add_job(
            database,
            seed=seed,
            overrides={"optimization.epochs": steps, "optimization.batch_size": step_ms},
            checkpoint={"every_steps": every},
            **fields,
        )

    return run(url, add).id


def prepare_digits(cluster: Cluster) -> None:
    """Register the data set `digits` and wait until it is prepared."""
    spec = DatasetSpec(name="digits", source=BundledSource(name="mnist_5k"))

    async def register(database):
        async with database.transaction() as session:
            return await register_dataset(session, spec, project="default", s3_prefixes=())

    _, preparation = run(cluster.database_url, register)
    cluster.wait_for_job(preparation.id, "succeeded")


def submit_training(
    cluster: Cluster, *, slots: int, nodes: int = 1, epochs: int = 1, batch_size: int = 75
) -> str:
    """Submit a job for the real trainer, with so many slots on each node, and return its id."""
    spec = TrainSpec.model_validate(
        {
            **TRAIN_SPEC,
            "resources": {"nodes": nodes, "slots": slots},
            "overrides": {"optimization.epochs": epochs, "optimization.batch_size": batch_size},
        }
    )

    async def submit(database):
        async with database.transaction() as session:
            return await submit_job(session, spec, project="default")

    return run(cluster.database_url, submit).id


def cancel(url: str, job_id: str, *, forced: bool = False) -> None:
    """Cancel a job as the API does."""
    within(url, lambda session: control.cancel(session, job_id, forced=forced))


def pause(url: str, job_id: str) -> None:
    """Pause a job as the API does."""
    within(url, lambda session: control.pause(session, job_id))


def resume(url: str, job_id: str) -> None:
    """Resume a job as the API does."""
    within(url, lambda session: control.resume(session, job_id))


def drain(url: str, node: str) -> None:
    """Cordon and drain a node as the API does."""
    query = select(Node.id).where(Node.name == node)
    node_id = within(url, lambda session: session.scalar(query))
    within(url, lambda session: nodes.cordon(session, node_id, cordoned=True))
    within(url, lambda session: control.drain(session, node_id))
