"""API keys: make, list, revoke."""

import secrets

from fastapi import APIRouter, Response

from services.adapters.postgres import api_keys
from services.adapters.postgres.database import Session
from services.api.authentication import Admin
from services.api.dependencies import StoresDependency
from services.api.once import OnceDependency
from services.api.schemas.keys import KeyOptions, KeyResource, NewKeyResource
from services.domain.access import KEY_BYTES, make_key

router = APIRouter(prefix="/v1/api-keys", tags=["keys"])


@router.post("", status_code=201, response_model=NewKeyResource)
async def create(options: KeyOptions, _: Admin, once: OnceDependency) -> Response:
    """Make a key for a project. The answer shows it, and nothing does so again."""

    async def effect(session: Session) -> NewKeyResource:
        return await make(session, options)

    done = await once.perform(
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
