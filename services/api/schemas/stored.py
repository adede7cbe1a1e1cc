"""Data sets and presets as JSON."""

from datetime import datetime

from pydantic import BaseModel, JsonValue

from services.api.schemas.base import Resource
from services.api.schemas.jobs import JobResource


class DatasetResource(Resource):
    """A registered data set; usable when its status is ready."""

    id: str
    name: str
    status: str
    message: str | None
    source: dict[str, JsonValue]
    content_hash: str | None
    description: dict[str, JsonValue] | None
    created_at: datetime


class DatasetRegistration(BaseModel):
    """A new data set and the job that prepares it."""

    dataset: DatasetResource
    job: JobResource


class PresetResource(BaseModel):
    """A named model and optimization."""

    name: str
    description: str
    model: dict[str, JsonValue]
    optimization: dict[str, JsonValue]
