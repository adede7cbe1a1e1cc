"""Nodes and their slots."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.adapters.postgres.tables import Attempt, Node, Slot
from services.domain.placement import NodeSlots
from services.domain.statuses import AttemptStatus


def in_seconds(seconds: float) -> ColumnElement[datetime]:
    """Return the SQL expression for this many seconds from now, by Postgres' own clock."""
    return func.clock_timestamp() + text(f"make_interval(secs => {float(seconds)})")


async def register(
    session: AsyncSession, node: Node, *, num_slots: int, lease_seconds: float
) -> str:
    """Store the node or refresh the one of the same name; return its id.

    Slots beyond the new number go away once they are free.
    """
    values = {
        "address": node.address,
        "version": node.version,
        "slot_kind": node.slot_kind,
        "lease_expires_at": in_seconds(lease_seconds),
    }
    statement = insert(Node).values(id=node.id, name=node.name, **values)
    statement = statement.on_conflict_do_update(index_elements=[Node.name], set_=values)
    node_id = (await session.scalars(statement.returning(Node.id))).one()
    slots = [{"node_id": node_id, "index": index} for index in range(num_slots)]
    await session.execute(insert(Slot).values(slots).on_conflict_do_nothing())
    surplus = delete(Slot).where(
        Slot.node_id == node_id, Slot.index >= num_slots, Slot.attempt_id.is_(None)
    )
    await session.execute(surplus)
    return node_id


async def renew(session: AsyncSession, node_id: str, *, lease_seconds: float) -> None:
    """Keep the node alive for this long."""
    lease = in_seconds(lease_seconds)
    await session.execute(update(Node).where(Node.id == node_id).values(lease_expires_at=lease))


async def list_all(session: AsyncSession) -> Sequence[Node]:
    """Return every node that was ever registered."""
    return (await session.scalars(select(Node).order_by(Node.name))).all()


async def slots_of(session: AsyncSession) -> dict[str, list[Slot]]:
    """Return the slots of every node by node id, in order."""
    slots: dict[str, list[Slot]] = {}
    for slot in await session.scalars(select(Slot).order_by(Slot.node_id, Slot.index)):
        slots.setdefault(slot.node_id, []).append(slot)
    return slots


async def list_free(session: AsyncSession) -> list[NodeSlots]:
    """Return the live, not cordoned nodes with their free slots."""
    alive = select(Node.id).where(
        Node.lease_expires_at > func.clock_timestamp(), Node.cordoned.is_(False)
    )
    slots = await slots_of(session)
    return [
        NodeSlots(
            id=node_id,
            free=tuple(slot.index for slot in slots[node_id] if slot.attempt_id is None),
            num_slots=len(slots[node_id]),
        )
        for node_id in await session.scalars(alive)
    ]


async def largest(session: AsyncSession) -> int | None:
    """Return the number of slots of the largest node, or None if no node was ever registered."""
    counts = select(func.count()).select_from(Slot).group_by(Slot.node_id).subquery()
    largest: int | None = await session.scalar(select(func.max(counts.c[0])))
    return largest


async def live_attempts(session: AsyncSession, node_id: str) -> Sequence[Attempt]:
    """Return the attempts that should have a runner on this node."""
    statuses = (AttemptStatus.CLAIMED, AttemptStatus.RUNNING)
    query = select(Attempt).where(Attempt.node_id == node_id, Attempt.status.in_(statuses))
    return (await session.scalars(query)).all()
