"""The outbox: doorbells that a committed transaction owes to nodes."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.adapters.postgres.tables import Doorbell


async def list_unrung(session: AsyncSession, *, limit: int = 1000) -> Sequence[Doorbell]:
    """Return the oldest doorbells."""
    return (await session.scalars(select(Doorbell).order_by(Doorbell.id).limit(limit))).all()


async def remove(session: AsyncSession, ids: Sequence[int]) -> None:
    """Forget doorbells that were rung, or that a later poll has made pointless."""
    await session.execute(delete(Doorbell).where(Doorbell.id.in_(ids)))
