"""The paper's configurations, and small ones."""

from fastapi import APIRouter
from pydantic import BaseModel, JsonValue

from nvae_core.presets import PRESETS
from services.api.auth import Reader

router = APIRouter(prefix="/v1", tags=["presets"])


class PresetResource(BaseModel):
    """A named model and optimization."""

    name: str
    description: str
    model: dict[str, JsonValue]
    optimization: dict[str, JsonValue]


@router.get("/presets")
async def list_presets(_: Reader) -> list[PresetResource]:
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
