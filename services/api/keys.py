"""API keys as JSON."""

import secrets
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field, StringConstraints

from nvae_core.config import Config
from services.api.auth import Admin
from services.api.dependencies import Moment, Resource, StoresDependency
from services.api.idempotency import Idempotent
from services.database import api_keys
from services.database.session import Session
from services.domain.access import DEFAULT_PROJECT, KEY_BYTES, Scope, make_key
from services.domain.specs import Name

Project = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
router = APIRouter(prefix="/v1/api-keys", tags=["keys"])


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


@router.post("", status_code=201, response_model=NewKeyResource)
async def create(options: KeyOptions, _: Admin, idempotent: Idempotent) -> Response:
    """Make a key for a project. The answer shows it, and nothing does so again."""

    async def effect(session: Session) -> NewKeyResource:
        return await make(session, options)

    done = await idempotent.perform(
        effect,
        status=201,
        location=lambda key: f"/v1/api-keys/{key.id}",
        keep=lambda key: key.model_copy(update={"key": None}),
    )
    return done.response(Cache_Control="no-store")


async def make(session: Session, options: KeyOptions) -> NewKeyResource:
    """Store a new key and return it."""
    key = make_key(secrets.token_bytes(KEY_BYTES))
    row = await api_keys.insert(session, key, **options.model_dump())
    stored = KeyResource.model_validate(row)
    return NewKeyResource(**stored.model_dump(), key=key)


@router.get("")
async def list_keys(_: Admin, stores: StoresDependency) -> list[KeyResource]:
    """List all keys, newest first; those that were revoked, too."""
    async with stores.database.transaction() as session:
        rows = await api_keys.list_all(session)
    return [KeyResource.model_validate(row) for row in rows]


@router.delete("/{key_id}")
async def revoke(key_id: str, _: Admin, stores: StoresDependency) -> KeyResource:
    """Revoke a key: within five seconds it is good for nothing. Again is no error."""
    async with stores.database.transaction() as session:
        return KeyResource.model_validate(await api_keys.revoke(session, key_id))
