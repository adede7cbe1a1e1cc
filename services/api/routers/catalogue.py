"""What there is to work with: presets."""

from fastapi import APIRouter

from nvae_core.presets import PRESETS
from services.api.authentication import Reader
from services.api.schemas.stored import PresetResource

router = APIRouter(prefix="/v1", tags=["presets"])


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
