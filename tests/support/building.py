"""Rows that tests start from, made the way the services make them."""

import secrets

from sqlalchemy import delete, text

from services.api.jobs.submission import submit_job
from services.database import (
    api_keys,
    artifacts,
    attempts,
    checkpoints,
    completion,
    jobs,
    nodes,
    placement,
)
from services.database.completion import Outcome
from services.database.session import new_id
from services.database.tables import Artifact, Attempt, Base, Dataset, Job, Node
from services.domain.access import KEY_BYTES, make_key
from services.domain.cluster import NodeShare
from services.domain.keys import StoredFile
from services.domain.placement import Placement
from services.domain.specs import STORED_SPEC

DESCRIPTION = {
    "height": 28,
    "width": 28,
    "num_colors": 1,
    "splits": {"train": {"num_images": 4500}, "test": {"num_images": 500}},
    "content_hash": "0" * 64,
}


async def add_key(database, *, project="default", scopes=("admin",), **columns):
    """Return a new API key."""
    key = make_key(secrets.token_bytes(KEY_BYTES))
    async with database.transaction() as session:
        row = await api_keys.insert(session, key, name="test", project=project, scopes=scopes)
        for name, value in columns.items():
            setattr(row, name, value)
    return key


async def add_dataset(database, name="mnist", *, project="default", **description):
    """Return a data set that is ready."""
    dataset = Dataset(
        id=new_id("ds"),
        project=project,
        name=name,
        status="ready",
        source={"kind": "bundled", "name": "mnist_5k"},
        description=DESCRIPTION | description,
        prefix="datasets/none",
        files=[],
    )
    async with database.transaction() as session:
        session.add(dataset)
    return dataset


async def add_node(database, name="n1", num_slots=2, lease_seconds=30.0, devices=None):
    """Return the id of a live node, with slots of its cores or of these devices."""
    node = Node(
        id=new_id("node"),
        name=name,
        address="127.0.0.1",
        version="0",
        slot_kind="cpu" if devices is None else "gpu",
        num_slots=num_slots if devices is None else len(devices),
    )
    async with database.transaction() as session:
        return await nodes.register(session, node, lease_seconds=lease_seconds, devices=devices)


async def add_job(database, *, kind="train", project="default", **fields) -> Job:
    """Return a queued job, of training unless told; there must be a data set `mnist`."""
    given = {"preset": "mnist-test", "dataset": "mnist"} if kind == "train" else {}
    spec = STORED_SPEC.validate_python({"kind": kind} | given | fields)
    async with database.transaction() as session:
        return await submit_job(session, spec, project=project)


async def add_claimed_attempt(database, job, node_id, *, lease_seconds=30.0):
    """Return the claim of a worker on a new attempt."""
    [claim] = await add_gang(database, job, [node_id], lease_seconds=lease_seconds)
    return claim


async def place(database, job, node_ids, *, slots=None):
    """Give a job slots on these nodes, the first ones unless told, which nobody has claimed yet."""
    slots = slots or tuple(range(job.num_slots))
    decision = Placement(job.id, tuple(NodeShare(node_id, slots) for node_id in node_ids))
    async with database.transaction() as session:
        return await placement.place(
            session,
            decision,
            attempt_id=new_id("att"),
            claim_timeout_seconds=60,
            ports=range(29500, 29600),
        )


async def add_gang(database, job, node_ids, *, lease_seconds=30.0):
    """Return the claims of nodes that have claimed their shares of a new attempt."""
    await place(database, job, node_ids)
    claims = []
    for node_id in node_ids:
        async with database.transaction() as session:
            claims += await attempts.claim(session, node_id, lease_seconds=lease_seconds)
    return claims


async def finish(database, claim, reason, message="why", result=None):
    """End one node's share of an attempt."""
    async with database.transaction() as session:
        attempt = await attempts.fenced(session, claim)
        outcome = Outcome(reason, message, result) if reason else None
        await completion.finish(session, attempt, outcome, node_rank=claim.node_rank)


async def find_attempt(database, attempt_id) -> Attempt:
    """Return the attempt as it is stored now."""
    async with database.transaction() as session:
        return await session.get_one(Attempt, attempt_id)


async def add_checkpoint(database, claim, step=1):
    """Commit a checkpoint of a claimed attempt and return its id."""
    checkpoint_id = new_id("ckpt")
    async with database.transaction() as session:
        live = await attempts.fenced(session, claim)
        await checkpoints.add(
            session,
            live,
            checkpoint_id=checkpoint_id,
            step=step,
            prefix=f"jobs/{live.job_id}/attempts/1/checkpoints/{step}",
            files=[StoredFile("model.safetensors", 3, "0" * 64)],
        )
    return checkpoint_id


async def add_artifact(database, claim, name):
    """Publish a file of a claimed attempt; one of the same name is replaced."""
    async with database.transaction() as session:
        live = await attempts.fenced(session, claim)
        artifact = Artifact(
            id=new_id("art"),
            job_id=live.job_id,
            attempt_id=live.id,
            name=name,
            key=f"jobs/{live.job_id}/attempts/{live.number}/{name}",
            content_type="application/octet-stream",
            size_bytes=1,
            sha256="0" * 64,
        )
        await artifacts.add(session, live, artifact)


async def find_job(database, job_id) -> Job:
    """Return the job as it is stored now."""
    async with database.transaction() as session:
        return await jobs.find(session, job_id)


async def empty(database):
    """Delete all rows; with few of them this is five times faster than TRUNCATE."""
    async with database.transaction() as session:
        await session.execute(text("SET LOCAL session_replication_role = replica"))  # no order
        for table in Base.metadata.sorted_tables:
            await session.execute(delete(table))
