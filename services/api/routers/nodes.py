"""Nodes: look, close for new jobs, empty."""

from datetime import UTC, datetime

from fastapi import APIRouter, Response

from services.adapters.postgres import nodes, requests
from services.adapters.postgres.database import Session
from services.adapters.postgres.tables import Node
from services.api.authentication import Admin, Reader
from services.api.dependencies import StoresDependency
from services.api.once import OnceDependency
from services.api.schemas.nodes import NodeResource

router = APIRouter(prefix="/v1/nodes", tags=["nodes"])


@router.get("")
async def list_nodes(_: Reader, stores: StoresDependency) -> list[NodeResource]:
    """List the machines that run jobs, and their free slots."""
    async with stores.database.transaction() as session:
        return await _resources(session, list(await nodes.list_all(session)))


@router.post("/{node_id}/cordon", response_model=NodeResource)
async def cordon(node_id: str, _: Admin, once: OnceDependency) -> Response:
    """Give the node no new jobs; those that it has go on."""

    async def effect(session: Session) -> NodeResource:
        return await _cordon(session, node_id, cordoned=True)

    return (await once.perform(effect)).response()


@router.post("/{node_id}/uncordon", response_model=NodeResource)
async def uncordon(node_id: str, _: Admin, once: OnceDependency) -> Response:
    """Give the node jobs again."""

    async def effect(session: Session) -> NodeResource:
        return await _cordon(session, node_id, cordoned=False)

    return (await once.perform(effect)).response()


@router.post("/{node_id}/drain", response_model=NodeResource)
async def drain(node_id: str, _: Admin, once: OnceDependency, stores: StoresDependency) -> Response:
    """Cordon the node and move its jobs: each saves a checkpoint and goes back to the queue."""
    async with stores.database.transaction() as session:  # first: no job slips in meanwhile
        await requests.cordon(session, node_id, cordoned=True)

    async def effect(session: Session) -> NodeResource:
        await requests.drain(session, node_id)
        return (await _resources(session, [await nodes.find(session, node_id)]))[0]

    return (await once.perform(effect)).response()


async def _cordon(session: Session, node_id: str, *, cordoned: bool) -> NodeResource:
    node = await requests.cordon(session, node_id, cordoned=cordoned)
    return (await _resources(session, [node]))[0]


async def _resources(session: Session, rows: list[Node]) -> list[NodeResource]:
    free = await nodes.free_slots(session)
    now = datetime.now(UTC)
    return [NodeResource.of(row, num_free_slots=len(free.get(row.id, ())), now=now) for row in rows]
