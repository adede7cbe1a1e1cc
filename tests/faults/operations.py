"""Operations of scheduler, workers and runners on the database, without processes or a store.

Time passes in SQL: leases are so long that no pause of the machine counts.
"""

from datetime import UTC, datetime

from sqlalchemy import DateTime, text

from services.database import artifacts, attempts, checkpoints, completion, metrics, nodes
from services.database.attempts import fenced_write
from services.database.completion import Outcome
from services.database.metrics import MetricValues
from services.database.session import new_id
from services.database.tables import Artifact, Base, Node
from services.domain.keys import StoredFile, attempt_prefix
from services.messaging.celery import BrokerUnavailable
from services.scheduler.scheduler import Scheduler
from services.settings import LeaseSettings, SchedulerSettings

LEASE_SECONDS = 3000.0
CLAIM_TIMEOUT_SECONDS = 5000.0
READY_TIMEOUT_SECONDS = 31_000.0

_TIME_COLUMNS = {
    table.name: [column.name for column in table.columns if isinstance(column.type, DateTime)]
    for table in Base.metadata.sorted_tables
}
_ADVANCE = [
    text(
        f"UPDATE {table} SET "
        + ", ".join(f"{name} = {name} - make_interval(secs => :seconds)" for name in names)
    )
    for table, names in _TIME_COLUMNS.items()
    if names
]


class FakeBroker:
    """Delivers doorbells once, twice or never, or refuses them, by its mode."""

    def __init__(self, mode="once"):
        self.mode = mode
        self.delivered = []

    def ring(self, node_id):
        """Stand in for `DoorbellPublisher.ring`."""
        if self.mode == "away":
            raise BrokerUnavailable("the broker is away")
        self.delivered += [node_id] * {"once": 1, "twice": 2, "never": 0}[self.mode]


def new_scheduler(database, broker):
    """Return a scheduler that has just become leader and gives nodes no grace."""
    settings = SchedulerSettings(
        claim_timeout_seconds=CLAIM_TIMEOUT_SECONDS, ready_timeout_seconds=READY_TIMEOUT_SECONDS
    )
    return Scheduler(database, broker, settings, LeaseSettings(seconds=LEASE_SECONDS))


async def register(database, node_id, *, num_slots):
    """Announce a node under an id that does not change from run to run."""
    node = Node(
        id=node_id,
        name=node_id.replace("_", "-"),
        address="127.0.0.1",
        version="0",
        slot_kind="cpu",
        num_slots=num_slots,
    )
    async with database.transaction() as session:
        await nodes.register(session, node, lease_seconds=LEASE_SECONDS)


async def claim(database, node_id):
    """Renew the node and return what was placed on it, as a worker begins to look."""
    async with database.transaction() as session:
        await nodes.renew(session, node_id, lease_seconds=LEASE_SECONDS)
        return await attempts.claim(session, node_id, lease_seconds=LEASE_SECONDS)


async def live_claims(database, node_id):
    """Return what should have a runner on a node, as a worker goes on to ask."""
    async with database.transaction() as session:
        return await nodes.live_claims(session, node_id)


async def renew(database, held):
    """Renew the lease of a runner; return its orders."""
    async with database.transaction() as session:
        return await attempts.renew(session, held, lease_seconds=LEASE_SECONDS)


async def look(database, held):
    """Return a runner's orders."""
    async with database.transaction() as session:
        return await attempts.look(session, held)


async def make_ready(database, held):
    """Say that a runner could start the trainer; return its orders."""
    async with database.transaction() as session:
        return await attempts.make_ready(session, held)


async def add_metrics(database, held, values, *, step=1):
    """Publish values at a step."""
    measured = [MetricValues(step, datetime.now(UTC), values)]
    async with fenced_write(database, held) as (session, attempt):
        await metrics.add_metrics(session, attempt, measured)


async def add_checkpoint(database, held, *, step=1):
    """Publish the checkpoint of a step, with an id that is new each time; return the id."""
    checkpoint_id = new_id("ckpt")
    async with fenced_write(database, held) as (session, attempt):
        prefix = attempt_prefix(attempt.job_id, attempt.number)
        await checkpoints.add(
            session,
            attempt,
            checkpoint_id=checkpoint_id,
            step=step,
            prefix=f"{prefix}/checkpoints/step_{step:08d}",
            files=[StoredFile("model.safetensors", 3, "0" * 64)],
        )
    return checkpoint_id


async def add_artifact(database, held, *, name="samples.png"):
    """Publish a file, with an id that is new each time."""
    async with fenced_write(database, held) as (session, attempt):
        artifact = Artifact(
            id=new_id("art"),
            job_id=attempt.job_id,
            attempt_id=attempt.id,
            name=name,
            key=f"{attempt_prefix(attempt.job_id, attempt.number)}/artifacts/{name}",
            content_type="image/png",
            size_bytes=1,
            sha256="0" * 64,
        )
        await artifacts.add(session, attempt, artifact)


async def finish(database, held, reason=None, *, result=None):
    """End a runner's share."""
    ending = Outcome(reason, f"it was {reason}", result) if reason else None
    async with fenced_write(database, held) as (session, attempt):
        await completion.finish(session, attempt, ending, node_rank=held.node_rank)


async def advance_time(database, seconds):
    """Move every stored time back, because Postgres' clock cannot be moved."""
    async with database.transaction() as session:
        await session.execute(text("SET LOCAL session_replication_role = replica"))  # no triggers
        for statement in _ADVANCE:
            await session.execute(statement, {"seconds": seconds})
