"""Rows of jobs, attempts and checkpoints as the services leave them, with objects to match."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import text, update

from services.database.session import new_id
from services.database.tables import Attempt, Checkpoint, Job, Node
from services.domain.keys import attempt_prefix

FILES = [
    {"name": "checkpoint.json", "size_bytes": 3, "sha256": "0" * 64},
    {"name": "ranks/rank_0.safetensors", "size_bytes": 7, "sha256": "1" * 64},
]


async def store(database, *rows):
    """Store rows, one after the other, as they refer to each other."""
    async with database.transaction() as session:
        for row in rows:
            session.add(row)
            await session.flush()
    return rows[-1]


async def store_job(database, *, status="running", checkpoint_id=None, kind="train", **policy):
    """Return a job with this status and checkpoint policy."""
    job = Job(
        id=new_id("job"),
        kind=kind,
        spec={"kind": kind, "checkpoint": policy} if kind == "train" else {"kind": kind},
        resolved={},
        priority=50,
        num_slots=1,
        status=status,
        checkpoint_id=checkpoint_id,
    )
    return await store(database, job)


async def store_attempt(database, job, *, number=1, ended_hours_ago=None):
    """Return an attempt that is live, or ended this long ago."""
    node = Node(
        id=new_id("node"),
        name=new_id("n").replace("_", "-"),
        address="127.0.0.1",
        version="0",
        slot_kind="cpu",
        num_slots=1,
        lease_expires_at=datetime.now(UTC),
    )
    is_live = ended_hours_ago is None
    attempt = Attempt(
        id=new_id("att"),
        job_id=job.id,
        number=number,
        node_id=node.id,
        status="running" if is_live else "finished",
        finished_at=None if is_live else datetime.now(UTC) - timedelta(hours=ended_hours_ago),
    )
    return await store(database, node, attempt)


async def store_checkpoint(database, attempt, step, **fields):
    """Return a checkpoint of the attempt."""
    prefix = f"{attempt_prefix(attempt.job_id, attempt.number)}/checkpoints/step_{step:08d}"
    checkpoint = Checkpoint(
        id=new_id("ckpt"),
        job_id=attempt.job_id,
        attempt_id=attempt.id,
        step=step,
        prefix=prefix,
        files=FILES,
        **{"status": "committed", "pinned": False} | fields,
    )
    return await store(database, checkpoint)


async def change(database, row, **fields):
    """Write columns of a row as somebody else would."""
    table = type(row)
    async with database.transaction() as session:
        await session.execute(update(table).where(table.id == row.id).values(**fields))


async def age(database, checkpoint, *, hours):
    """Let the last change of a checkpoint lie this long back."""
    statement = text(
        "UPDATE checkpoints SET changed_at = clock_timestamp() - make_interval(hours => :hours)"
        " WHERE id = :id"
    )
    async with database.transaction() as session:
        await session.execute(statement, {"hours": hours, "id": checkpoint.id})


async def statuses(database, *checkpoints):
    """Return the status of each checkpoint as it is stored now."""
    async with database.transaction() as session:
        return [(await session.get(Checkpoint, row.id)).status for row in checkpoints]
