"""Nodes and their slots."""

from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.adapters.postgres.clock import in_seconds
from services.adapters.postgres.tables import Attempt, Node, Slot
from services.domain.placement import NodeSlots
from services.domain.statuses import AttemptStatus


async def register(session: AsyncSession, node: Node, *, lease_seconds: float) -> str:
    """Store the node or refresh the one of the same name; return its id."""
    values = {
        "address": node.address,
        "version": node.version,
        "slot_kind": node.slot_kind,
        "num_slots": node.num_slots,
        "lease_expires_at": in_seconds(lease_seconds),
    }
    statement = insert(Node).values(id=node.id, name=node.name, **values)
    statement = statement.on_conflict_do_update(index_elements=[Node.name], set_=values)
    node_id = (await session.scalars(statement.returning(Node.id))).one()
    slots = [{"node_id": node_id, "index": index} for index in range(node.num_slots)]
    await session.execute(insert(Slot).values(slots).on_conflict_do_nothing())
    return node_id


async def renew(session: AsyncSession, node_id: str, *, lease_seconds: float) -> None:
    """Keep the node alive for this long."""
    lease = in_seconds(lease_seconds)
    await session.execute(update(Node).where(Node.id == node_id).values(lease_expires_at=lease))


async def list_all(session: AsyncSession) -> Sequence[Node]:
    """Return every node that was ever registered."""
    return (await session.scalars(select(Node).order_by(Node.name))).all()


async def free_slots(session: AsyncSession) -> dict[str, tuple[int, ...]]:
    """Return the free slots that each node offers, by node id."""
    query = (
        select(Slot.node_id, Slot.index)
        .join(Node, Node.id == Slot.node_id)
        .where(Slot.attempt_id.is_(None), Slot.index < Node.num_slots)
        .order_by(Slot.node_id, Slot.index)
    )
    slots: dict[str, tuple[int, ...]] = {}
    for node_id, index in await session.execute(query):
        slots[node_id] = (*slots.get(node_id, ()), index)
    return slots


async def list_free(session: AsyncSession) -> list[NodeSlots]:
    """Return the live, not cordoned nodes with their free slots."""
    alive = select(Node.id, Node.num_slots).where(
        Node.lease_expires_at > func.clock_timestamp(), Node.cordoned.is_(False)
    )
    nodes = (await session.execute(alive)).all()
    free = await free_slots(session)
    return [NodeSlots(node_id, free.get(node_id, ()), num_slots) for node_id, num_slots in nodes]


async def largest(session: AsyncSession) -> int | None:
    """Return the number of slots of the largest node, or None if no node was ever registered."""
    largest: int | None = await session.scalar(select(func.max(Node.num_slots)))
    return largest


async def live_attempts(session: AsyncSession, node_id: str) -> Sequence[Attempt]:
    """Return the attempts that should have a runner on this node."""
    statuses = (AttemptStatus.CLAIMED, AttemptStatus.RUNNING)
    query = select(Attempt).where(Attempt.node_id == node_id, Attempt.status.in_(statuses))
    return (await session.scalars(query)).all()
