"""Nodes and their slots."""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain, count

from sqlalchemy import ColumnElement, and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.database.attempts import LIVE_MEMBER, Claim
from services.database.session import in_seconds, notify_queue
from services.database.tables import Attempt, Job, Member, Node, Slot
from services.domain.cluster import NodeSlots
from services.domain.errors import NotFound
from services.domain.specs import LONG_KINDS, Resources
from services.domain.states import AttemptStatus

PROTOCOL = 2
"""What a worker and the tables must agree on; a node with another one gets no jobs."""
_READ_CAPACITY = text("""
    SELECT count(*),
        count(*) FILTER (WHERE is_labelled),
        coalesce(max(num_slots) FILTER (WHERE is_labelled), 0),
        count(*) FILTER (WHERE is_labelled AND num_slots >= :slots)
    FROM (SELECT num_slots, labels @> CAST(:labels AS jsonb) AS is_labelled FROM nodes) AS stock
""")


@dataclass(frozen=True)
class Disk:
    """The disk of a node's data folder."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Capacity:
    """How many nodes there are, have the labels, and have the slots too; the largest's slots."""

    num_nodes: int
    num_labelled: int
    largest: int
    num_fitting: int


async def register(
    session: AsyncSession,
    node: Node,
    *,
    lease_seconds: float,
    devices: Sequence[str] | None = None,
) -> str:
    """Store the node or refresh the one of the same name; return its id.

    A node without an address gets the one it talks to Postgres from. `devices` are the UUIDs of
    its GPUs, one for each slot; None where slots are shares of the cores.
    """
    seen_from_here = func.coalesce(func.host(func.inet_client_addr()), "127.0.0.1")
    values = {
        "address": node.address or seen_from_here,
        "version": node.version,
        "slot_kind": node.slot_kind,
        "num_slots": node.num_slots,
        "memory_bytes": node.memory_bytes,
        "labels": node.labels or {},
        "protocol": PROTOCOL,
        "lease_expires_at": in_seconds(lease_seconds),
    }
    statement = insert(Node).values(id=node.id, name=node.name, **values)
    statement = statement.on_conflict_do_update(index_elements=[Node.name], set_=values)
    node_id = (await session.scalars(statement.returning(Node.id))).one()
    if devices is None:
        await _store_cores(session, node_id, node.num_slots)
    else:
        await _store_devices(session, node_id, devices)
    return node_id


async def _store_cores(session: AsyncSession, node_id: str, num_slots: int) -> None:
    shares = update(Slot).where(Slot.node_id == node_id)
    await session.execute(shares.values(device=None, offered=True))
    slots = [{"node_id": node_id, "index": index} for index in range(num_slots)]
    await session.execute(insert(Slot).values(slots).on_conflict_do_nothing())


async def _store_devices(session: AsyncSession, node_id: str, devices: Sequence[str]) -> None:
    """Offer these devices; a device that is lost stays with the attempt that has it."""
    query = select(Slot).where(Slot.node_id == node_id)
    query = query.execution_options(populate_existing=True)
    slots = {slot.index: slot for slot in await session.scalars(query)}
    numbered = number_devices(
        devices,
        stored={index: slot.device for index, slot in slots.items()},
        held={index for index, slot in slots.items() if slot.attempt_id is not None},
    )
    for slot in slots.values():
        slot.offered = slot.index in numbered
    for index, device in numbered.items():
        if index in slots:
            slots[index].device = device
        else:
            session.add(Slot(node_id=node_id, index=index, device=device))
    await session.flush()


def number_devices(
    devices: Sequence[str], *, stored: Mapping[int, str | None], held: Set[int]
) -> dict[int, str]:
    """Return the slot of each device: the one that it has, else its place in the list, else any.

    Args:
        devices: UUIDs in the order of NVML.
        stored: the devices of the slots there are; None in a slot of before they had any, whose
            index is the device's place in the order of NVML.
        held: slots that attempts have, which keep their device.
    """
    numbered = {index: device for index, device in stored.items() if device in set(devices)}
    known = set(numbered.values())
    for place, device in enumerate(devices):
        if device not in known:
            free = (index for index in chain([place], count()) if index not in numbered)
            index = next(
                index
                for index in free
                if index not in held or (index == place and stored[index] is None)
            )
            numbered[index] = device
    return numbered


def _is_offered() -> ColumnElement[bool]:
    """Return what holds for the slots that their node offers."""
    is_within = or_(Slot.device.is_not(None), Slot.index < Node.num_slots)
    return and_(Slot.offered, is_within)


async def renew(
    session: AsyncSession, node_id: str, *, lease_seconds: float, disk: Disk | None = None
) -> None:
    """Keep the node alive for this long, and store what room its disk has."""
    values: dict[str, object] = {"lease_expires_at": in_seconds(lease_seconds)}
    if disk is not None:
        values |= {"disk_bytes": disk.total_bytes, "disk_free_bytes": disk.free_bytes}
    await session.execute(update(Node).where(Node.id == node_id).values(values))


async def leave(session: AsyncSession, name: str) -> None:
    """Let a node that is about to end get no job from now on, until it registers again."""
    over = func.least(Node.lease_expires_at, func.clock_timestamp())
    await session.execute(update(Node).where(Node.name == name).values(lease_expires_at=over))


async def is_silent(session: AsyncSession, node_id: str, *, lease_seconds: float) -> bool:
    """Whether a node has missed renewals; such a node gets no job before it is heard again."""
    missed = update(Node).where(
        Node.id == node_id, Node.lease_expires_at < in_seconds(lease_seconds / 2)
    )
    over = func.least(Node.lease_expires_at, func.clock_timestamp())
    return await session.scalar(missed.values(lease_expires_at=over).returning(Node.id)) is not None


async def find(session: AsyncSession, node_id: str) -> Node:
    """Return the node, or raise NotFound."""
    node = await session.get(Node, node_id)
    if node is None:
        raise NotFound(f"there is no node {node_id}")
    return node


async def list_all(session: AsyncSession) -> Sequence[Node]:
    """Return every node that was ever registered."""
    return (await session.scalars(select(Node).order_by(Node.name))).all()


async def free_slots(session: AsyncSession) -> dict[str, tuple[int, ...]]:
    """Return the free slots that each node offers, by node id."""
    query = (
        select(Slot.node_id, Slot.index)
        .join(Node, Node.id == Slot.node_id)
        .where(Slot.attempt_id.is_(None), _is_offered())
        .order_by(Slot.node_id, Slot.index)
    )
    slots: dict[str, tuple[int, ...]] = {}
    for node_id, index in await session.execute(query):
        slots[node_id] = (*slots.get(node_id, ()), index)
    return slots


async def list_free(session: AsyncSession) -> list[NodeSlots]:
    """Return the nodes that may get jobs, with their free slots."""
    columns = (Node.id, Node.num_slots, Node.labels, Node.version)
    alive = select(*columns).where(
        Node.lease_expires_at > func.clock_timestamp(),
        Node.cordoned.is_(False),
        Node.protocol == PROTOCOL,
    )
    nodes = (await session.execute(alive)).all()
    free = await free_slots(session)
    soon_free = await _short_slots(session)
    return [
        NodeSlots(
            node_id,
            free.get(node_id, ()),
            num_slots,
            labels=labels,
            version=version,
            soon_free=soon_free.get(node_id, 0),
        )
        for node_id, num_slots, labels, version in nodes
    ]


async def _short_slots(session: AsyncSession) -> dict[str, int]:
    """Return how many slots of each node are held by short jobs."""
    query = (
        select(Slot.node_id, func.count())
        .join(Attempt, Attempt.id == Slot.attempt_id)
        .join(Job, Job.id == Attempt.job_id)
        .where(Job.kind.not_in(LONG_KINDS))
        .group_by(Slot.node_id)
    )
    return {node_id: count for node_id, count in await session.execute(query)}


async def read_capacity(session: AsyncSession, resources: Resources) -> Capacity:
    """Count the nodes that were ever registered, alive or not, against what a job asks for."""
    parameters = {"labels": json.dumps(resources.labels), "slots": resources.slots}
    return Capacity(*(await session.execute(_READ_CAPACITY, parameters)).one())


async def live_claims(session: AsyncSession, node_id: str) -> Sequence[Claim]:
    """Return what should have a runner on this node."""
    query = (
        select(Attempt.id, Attempt.fence, Member.node_rank)
        .join(Member, Member.attempt_id == Attempt.id)
        .where(
            Member.node_id == node_id,
            Member.status.in_(LIVE_MEMBER),
            Attempt.status != AttemptStatus.FINISHED,
        )
    )
    return [Claim(*row) for row in await session.execute(query)]


async def cordon(session: AsyncSession, node_id: str, *, cordoned: bool) -> Node:
    """Let a node get no new jobs, or again; raises NotFound."""
    node = await session.get(Node, node_id, with_for_update={"key_share": True})
    if node is None:
        raise NotFound(f"there is no node {node_id}")
    node.cordoned = cordoned
    await notify_queue(session)
    return node
