"""Keys to the API: stored as hashes, never deleted, so that events can be told who caused them."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.database.session import new_id, read_clock
from services.database.tables import ApiKey
from services.domain.access import Scope, hash_key, hint_of
from services.domain.errors import NotFound

_USE_IS_NOTED_EVERY = timedelta(minutes=1)


async def insert(
    session: AsyncSession,
    key: str,
    *,
    name: str,
    project: str,
    scopes: Iterable[Scope],
    expires_at: datetime | None = None,
) -> ApiKey:
    """Store a new key, of which only the hash and a hint are kept."""
    row = ApiKey(
        id=new_id("key"),
        name=name,
        project=project,
        scopes=sorted(set(scopes)),
        key_hash=hash_key(key),
        hint=hint_of(key),
        expires_at=expires_at,
    )
    session.add(row)
    await session.flush()
    await session.refresh(row)
    return row


async def find_by_hash(session: AsyncSession, key_hash: str) -> ApiKey | None:
    """Return the key of this hash, revoked and expired or not; and note that it was used."""
    key = (await session.scalars(select(ApiKey).where(ApiKey.key_hash == key_hash))).one_or_none()
    if key is not None and _is_worth_noting(key.last_used_at, await read_clock(session)):
        used = update(ApiKey).where(ApiKey.id == key.id).values(last_used_at=func.clock_timestamp())
        await session.execute(used.execution_options(synchronize_session=False))
    return key


async def list_all(session: AsyncSession) -> Sequence[ApiKey]:
    """Return every key that there ever was, newest first."""
    return (await session.scalars(select(ApiKey).order_by(ApiKey.id.desc()))).all()


async def revoke(session: AsyncSession, key_id: str) -> ApiKey:
    """Make a key worthless from now on; again is no error.

    Raises:
        NotFound: there is no such key.
    """
    key = await session.get(ApiKey, key_id, with_for_update=True)
    if key is None:
        raise NotFound(f"there is no key {key_id}")
    if key.revoked_at is None:
        key.revoked_at = await read_clock(session)
    return key


def _is_worth_noting(last_used_at: datetime | None, now: datetime) -> bool:
    return last_used_at is None or now - last_used_at > _USE_IS_NOTED_EVERY
