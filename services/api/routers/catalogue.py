"""What there is to work with: presets and nodes."""

from datetime import UTC, datetime

from fastapi import APIRouter

from nvae_core.presets import PRESETS
from services.adapters.postgres import nodes
from services.api.dependencies import StoresDependency
from services.api.schemas import NodeResource, PresetResource

router = APIRouter(prefix="/v1", tags=["presets and nodes"])


@router.get("/presets")
async def list_presets() -> list[PresetResource]:
    """List the named configurations."""
    return [
        PresetResource(
            name=preset.name,
            description=preset.description,
            model=preset.model.model_dump(mode="json"),
            optimization=preset.optimization.model_dump(mode="json"),
        )
        for preset in PRESETS.values()
    ]


@router.get("/nodes")
async def list_nodes(stores: StoresDependency) -> list[NodeResource]:
    """List the machines that run jobs, and their free slots."""
    async with stores.database.transaction() as session:
        rows = await nodes.list_all(session)
        free = await nodes.free_slots(session)
    now = datetime.now(UTC)
    return [NodeResource.of(row, num_free_slots=len(free.get(row.id, ())), now=now) for row in rows]
