"""The queue: which jobs wait, and the statements that give one its slots and ring its nodes."""

from collections.abc import Sequence

from sqlalchemy import delete, func, or_, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.database import jobs
from services.database.session import in_seconds
from services.database.tables import Attempt, Doorbell, Job, Member, Node, Slot
from services.domain.cluster import NodeShare, QueuedJob
from services.domain.errors import Conflict
from services.domain.placement import Placement, Wait
from services.domain.retry import DEVICE_FAULTS
from services.domain.specs import LONG_KINDS
from services.domain.states import AttemptStatus, JobStatus, MemberStatus, Reason
from services.telemetry import tracing

_EXPLAIN_WAITS = text("""
    UPDATE jobs SET reason = :reason, message = explained.message
    FROM unnest(CAST(:ids AS text[]), CAST(:messages AS text[])) AS explained (id, message)
    WHERE jobs.id = explained.id AND jobs.status = 'queued'
        AND jobs.message IS DISTINCT FROM explained.message
""")


async def list_placeable(session: AsyncSession) -> list[QueuedJob]:
    """Return the queued jobs whose delay is over."""
    ready = or_(Job.not_before.is_(None), Job.not_before <= func.clock_timestamp())
    resources = (Job.num_nodes, Job.num_slots, Job.labels)
    query = select(Job.id, Job.priority, Job.created_at, Job.kind, *resources)
    rows = await session.execute(query.where(Job.status == JobStatus.QUEUED, ready))
    avoided = await _avoided_nodes(session)
    return [
        QueuedJob(
            job_id,
            num_slots=num_slots,
            priority=priority,
            created_at=created_at,
            num_nodes=num_nodes,
            labels=labels,
            avoided=avoided.get(job_id, frozenset()),
            is_short=kind not in LONG_KINDS,
        )
        for job_id, priority, created_at, kind, num_nodes, num_slots, labels in rows
    ]


async def _avoided_nodes(session: AsyncSession) -> dict[str, frozenset[str]]:
    """Return, by queued job, the nodes that have failed it twice, or once with a broken GPU."""
    query = (
        select(Attempt.job_id, Attempt.failed_node_id)
        .join(Job, Job.id == Attempt.job_id)
        .where(Job.status == JobStatus.QUEUED, Attempt.failed_node_id.is_not(None))
        .group_by(Attempt.job_id, Attempt.failed_node_id)
        .having(or_(func.count() >= 2, func.bool_or(Attempt.reason.in_(DEVICE_FAULTS))))
    )
    avoided: dict[str, frozenset[str]] = {}
    for job_id, node_id in await session.execute(query):
        avoided[job_id] = avoided.get(job_id, frozenset()) | {str(node_id)}
    return avoided


async def explain_waits(session: AsyncSession, waits: Sequence[Wait]) -> None:
    """Show on jobs that are still queued why they were not placed, where that has changed."""
    explained = {
        "ids": [wait.job_id for wait in waits],
        "messages": [wait.message for wait in waits],
        "reason": Reason.WAITING_FOR_SLOTS,
    }
    await session.execute(_EXPLAIN_WAITS, explained)


async def queue_position(session: AsyncSession, job: Job) -> int | None:
    """Return how many jobs are looked at before this one, plus one; None if it is not queued."""
    if job.status != JobStatus.QUEUED:
        return None
    is_ahead = or_(
        Job.priority > job.priority,
        (Job.priority == job.priority)
        & (tuple_(Job.created_at, Job.id) < tuple_(job.created_at, job.id)),
    )
    query = select(func.count()).where(Job.status == JobStatus.QUEUED, is_ahead)
    return 1 + (await session.scalar(query) or 0)


async def place(
    session: AsyncSession,
    placement: Placement,
    *,
    attempt_id: str,
    claim_timeout_seconds: float,
    ports: range,
) -> Attempt | None:
    """Give the job its slots and ring its nodes; None if the job is not queued any more.

    Raises:
        Conflict: a slot is not free or a node not open any more; the caller rolls back.
    """
    job = await jobs.find(session, placement.job_id, lock=True)
    if job.status != JobStatus.QUEUED:
        return None
    job.num_attempts += 1
    attempt = Attempt(
        id=attempt_id,
        job_id=job.id,
        number=job.num_attempts,
        node_id=placement.shares[0].node_id,
        status=AttemptStatus.PLACED,
    )
    session.add(attempt)
    await session.flush()
    if len(placement.shares) > 1:
        attempt.port = await _lease_port(session, attempt, ports)
    for node_rank, share in enumerate(placement.shares):
        await _check_node(session, share.node_id)
        await _take_slots(session, attempt_id, share)
        session.add(
            Member(
                attempt_id=attempt_id,
                node_rank=node_rank,
                node_id=share.node_id,
                status=MemberStatus.PLACED,
                lease_expires_at=in_seconds(claim_timeout_seconds),
            )
        )
        session.add(Doorbell(node_id=share.node_id))
    nodes = [share.node_id for share in placement.shares]
    await jobs.change_status(
        session,
        job,
        JobStatus.STARTING,
        attempt=attempt.number,
        nodes=nodes,
        traceparent=tracing.traceparent(),  # its workers go on from there
    )
    return attempt


async def _check_node(session: AsyncSession, node_id: str) -> None:
    """Keep the node from being cordoned while it gets a job: a drain moves all that it has."""
    node = await session.get_one(Node, node_id, with_for_update={"read": True})
    if node.cordoned:
        raise Conflict(f"node {node.name} was cordoned meanwhile")


async def _take_slots(session: AsyncSession, attempt_id: str, share: NodeShare) -> None:
    indices = await session.scalars(
        update(Slot)
        .where(
            Slot.node_id == share.node_id,
            Slot.index.in_(share.slots),
            Slot.attempt_id.is_(None),
            Slot.offered,
        )
        .values(attempt_id=attempt_id)
        .returning(Slot.index)
    )
    if len(indices.all()) != len(share.slots):
        raise Conflict(f"slots of {share.node_id} were taken meanwhile")


async def _lease_port(session: AsyncSession, attempt: Attempt, ports: Sequence[int]) -> int:
    """Return a port of rank 0's node that no live attempt has; each fence begins elsewhere."""
    query = select(Attempt.port).where(
        Attempt.node_id == attempt.node_id, Attempt.status != AttemptStatus.FINISHED
    )
    used = set(await session.scalars(query))
    first = attempt.fence % len(ports)
    for port in (*ports[first:], *ports[:first]):
        if port not in used:
            return port
    raise Conflict(f"all {len(ports)} ports of {attempt.node_id} are in use")


async def list_doorbells(session: AsyncSession, *, limit: int = 1000) -> Sequence[Doorbell]:
    """Return the oldest doorbells."""
    return (await session.scalars(select(Doorbell).order_by(Doorbell.id).limit(limit))).all()


async def remove_doorbells(session: AsyncSession, ids: Sequence[int]) -> None:
    """Forget doorbells that were rung, or that a later poll has made pointless."""
    await session.execute(delete(Doorbell).where(Doorbell.id.in_(ids)))
