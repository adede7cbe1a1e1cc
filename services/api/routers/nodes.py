"""Nodes: look, close for new jobs, empty."""

from datetime import UTC, datetime

from fastapi import APIRouter

from services.adapters.postgres import nodes, requests
from services.adapters.postgres.database import Session
from services.adapters.postgres.tables import Node
from services.api.dependencies import StoresDependency
from services.api.schemas import NodeResource

router = APIRouter(prefix="/v1/nodes", tags=["nodes"])


@router.get("")
async def list_nodes(stores: StoresDependency) -> list[NodeResource]:
    """List the machines that run jobs, and their free slots."""
    async with stores.database.transaction() as session:
        return await _resources(session, list(await nodes.list_all(session)))


@router.post("/{node_id}/cordon")
async def cordon(node_id: str, stores: StoresDependency) -> NodeResource:
    """Give the node no new jobs; those that it has go on."""
    return await _cordon(stores, node_id, cordoned=True)


@router.post("/{node_id}/uncordon")
async def uncordon(node_id: str, stores: StoresDependency) -> NodeResource:
    """Give the node jobs again."""
    return await _cordon(stores, node_id, cordoned=False)


@router.post("/{node_id}/drain")
async def drain(node_id: str, stores: StoresDependency) -> NodeResource:
    """Cordon the node and move its jobs: each saves a checkpoint and goes back to the queue."""
    await _cordon(stores, node_id, cordoned=True)  # committed first: no job slips in meanwhile
    async with stores.database.transaction() as session:
        await requests.drain(session, node_id)
    return await _show(stores, node_id)


async def _cordon(stores: StoresDependency, node_id: str, *, cordoned: bool) -> NodeResource:
    async with stores.database.transaction() as session:
        node = await requests.cordon(session, node_id, cordoned=cordoned)
        return (await _resources(session, [node]))[0]


async def _show(stores: StoresDependency, node_id: str) -> NodeResource:
    async with stores.database.transaction() as session:
        return (await _resources(session, [await nodes.find(session, node_id)]))[0]


async def _resources(session: Session, rows: list[Node]) -> list[NodeResource]:
    free = await nodes.free_slots(session)
    now = datetime.now(UTC)
    return [NodeResource.of(row, num_free_slots=len(free.get(row.id, ())), now=now) for row in rows]
