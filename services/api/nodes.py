"""Nodes as JSON."""

from datetime import UTC, datetime
from typing import Self

from fastapi import APIRouter, Response
from pydantic import BaseModel

from services.api.auth import Admin, Reader
from services.api.dependencies import StoresDependency
from services.api.idempotency import Idempotent
from services.database import control, nodes
from services.database.nodes import PROTOCOL
from services.database.session import Session
from services.database.tables import Node

router = APIRouter(prefix="/v1/nodes", tags=["nodes"])


class NodeResource(BaseModel):
    """A machine that runs jobs."""

    id: str
    name: str
    alive: bool
    cordoned: bool
    address: str
    labels: dict[str, str]
    memory_bytes: int | None
    slot_kind: str
    num_slots: int
    num_free_slots: int
    version: str
    usable: bool  # its worker and this service understand each other
    lease_expires_at: datetime

    @classmethod
    def of(cls, node: Node, *, num_free_slots: int, now: datetime) -> Self:
        """Return the resource of a stored node."""
        return cls(
            id=node.id,
            name=node.name,
            alive=node.lease_expires_at > now,
            cordoned=node.cordoned,
            address=node.address,
            labels=node.labels,
            memory_bytes=node.memory_bytes,
            slot_kind=node.slot_kind,
            num_slots=node.num_slots,
            num_free_slots=num_free_slots,
            version=node.version,
            usable=node.protocol == PROTOCOL,
            lease_expires_at=node.lease_expires_at,
        )


@router.get("")
async def list_nodes(_: Reader, stores: StoresDependency) -> list[NodeResource]:
    """List the machines that run jobs, and their free slots."""
    async with stores.database.transaction() as session:
        return await _resources(session, list(await nodes.list_all(session)))


@router.post("/{node_id}/cordon", response_model=NodeResource)
async def cordon(node_id: str, _: Admin, idempotent: Idempotent) -> Response:
    """Give the node no new jobs; those that it has go on."""

    async def effect(session: Session) -> NodeResource:
        return await _cordon(session, node_id, cordoned=True)

    return (await idempotent.perform(effect)).response()


@router.post("/{node_id}/uncordon", response_model=NodeResource)
async def uncordon(node_id: str, _: Admin, idempotent: Idempotent) -> Response:
    """Give the node jobs again."""

    async def effect(session: Session) -> NodeResource:
        return await _cordon(session, node_id, cordoned=False)

    return (await idempotent.perform(effect)).response()


@router.post("/{node_id}/drain", response_model=NodeResource)
async def drain(
    node_id: str, _: Admin, idempotent: Idempotent, stores: StoresDependency
) -> Response:
    """Cordon the node and move its jobs: each saves a checkpoint and goes back to the queue."""
    async with stores.database.transaction() as session:  # first: no job slips in meanwhile
        await nodes.cordon(session, node_id, cordoned=True)

    async def effect(session: Session) -> NodeResource:
        await control.drain(session, node_id)
        return (await _resources(session, [await nodes.find(session, node_id)]))[0]

    return (await idempotent.perform(effect)).response()


async def _cordon(session: Session, node_id: str, *, cordoned: bool) -> NodeResource:
    node = await nodes.cordon(session, node_id, cordoned=cordoned)
    return (await _resources(session, [node]))[0]


async def _resources(session: Session, rows: list[Node]) -> list[NodeResource]:
    free = await nodes.free_slots(session)
    now = datetime.now(UTC)
    return [NodeResource.of(row, num_free_slots=len(free.get(row.id, ())), now=now) for row in rows]
