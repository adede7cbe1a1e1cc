"""Servers of a benchmark's own, and attempts that it may write for."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.api.jobs.submission import submit_job
from services.database import attempts, nodes, placement
from services.database.attempts import Claim
from services.database.migrate import migrate
from services.database.session import Database, new_id
from services.database.tables import Dataset, Job, Node
from services.domain.cluster import NodeShare
from services.domain.placement import Placement
from services.domain.specs import TrainSpec
from services.local.stack import running_servers
from services.settings import DatabaseSettings, StorageSettings

_PRESET = "mnist-test"
_IMAGES = {"height": 28, "width": 28, "num_colors": 1, "content_hash": "0" * 64}
_SPLITS = {"splits": {"train": {"num_images": 4500}, "test": {"num_images": 500}}}


@contextmanager
def own_servers() -> Iterator[Mapping[str, str]]:
    """Start the servers in a new folder, which goes with them; the environment leads to them."""
    with tempfile.TemporaryDirectory() as folder, running_servers(Path(folder)) as environment:
        migrate(database_settings(environment))
        yield environment


def database_settings(environment: Mapping[str, str]) -> DatabaseSettings:
    """Return how to reach Postgres."""
    return DatabaseSettings.model_validate({"url": environment["NVAE_DATABASE_URL"]})


def storage_settings(environment: Mapping[str, str]) -> StorageSettings:
    """Return how to reach the object store."""
    names = ("endpoint_url", "bucket", "access_key", "secret_key")
    return StorageSettings.model_validate(
        {name: environment[f"NVAE_S3_{name.upper()}"] for name in names}
    )


async def claim_attempts(database: Database, count: int) -> dict[str, Claim]:
    """Return claims of new attempts on a new node, by job."""
    node = Node(
        id=new_id("node"),
        name="benchmark",
        address="127.0.0.1",
        version="0",
        slot_kind="cpu",
        num_slots=count,
    )
    dataset = Dataset(
        id=new_id("ds"),
        name="mnist",
        status="ready",
        source={"kind": "bundled", "name": "mnist_5k"},
        description=_IMAGES | _SPLITS,
        prefix="datasets/none",
        files=[],
    )
    async with database.transaction() as session:
        session.add(dataset)
        node_id = await nodes.register(session, node, lease_seconds=86_400)
    return dict([await _claim(database, node_id, slot) for slot in range(count)])


async def _claim(database: Database, node_id: str, slot: int) -> tuple[str, Claim]:
    spec = {"kind": "train", "preset": _PRESET, "dataset": "mnist"}
    async with database.transaction() as session:
        job: Job = await submit_job(session, TrainSpec.model_validate(spec), project="default")
        await placement.place(
            session,
            Placement(job.id, (NodeShare(node_id, (slot,)),)),
            attempt_id=new_id("att"),
            claim_timeout_seconds=86_400,
            ports=range(29_500, 29_600),
        )
    async with database.transaction() as session:
        [claim] = await attempts.claim(session, node_id, lease_seconds=86_400)
    return job.id, claim
