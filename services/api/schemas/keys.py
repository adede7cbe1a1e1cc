"""API keys as JSON."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from nvae_core.config import Config
from services.api.schemas.base import Moment, Resource
from services.domain.access import DEFAULT_PROJECT, Scope
from services.domain.submission import Name

Project = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class KeyOptions(Config):
    """A key to be made."""

    name: Name
    project: Project = DEFAULT_PROJECT
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=3)] = (Scope.SUBMIT,)
    expires_at: Moment | None = None  # none: never


class KeyResource(Resource):
    """An API key, without the key itself."""

    id: str
    name: str
    project: str
    scopes: list[Scope]
    hint: Annotated[str, Field(examples=["…x3Qk"], description="the key's last characters")]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewKeyResource(KeyResource):
    """An API key that was just made; the key itself is shown this once."""

    key: str | None
