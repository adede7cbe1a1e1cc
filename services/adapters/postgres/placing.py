"""Giving a job its slots: attempt, members, slots, port and doorbells in one transaction."""

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.adapters import tracing
from services.adapters.postgres import jobs
from services.adapters.postgres.clock import in_seconds
from services.adapters.postgres.tables import Attempt, Doorbell, Member, Node, Slot
from services.domain.errors import Conflict
from services.domain.placement import NodeShare, Placement
from services.domain.statuses import AttemptStatus, JobStatus, MemberStatus


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
        traceparent=tracing.current().traceparent,  # its workers go on from there
    )
    return attempt


async def _check_node(session: AsyncSession, node_id: str) -> None:
    """Keep the node from being cordoned while it gets a job: a drain moves all that it has."""
    node = await session.get_one(Node, node_id, with_for_update={"read": True})
    if node.cordoned:
        raise Conflict(f"node {node.name} was cordoned meanwhile")


async def _take_slots(session: AsyncSession, attempt_id: str, share: NodeShare) -> None:
    taken = await session.scalars(
        update(Slot)
        .where(
            Slot.node_id == share.node_id,
            Slot.index.in_(share.slots),
            Slot.attempt_id.is_(None),
        )
        .values(attempt_id=attempt_id)
        .returning(Slot.index)
    )
    if len(taken.all()) != len(share.slots):
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
