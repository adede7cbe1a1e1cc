"""Data sets: registered by name, ready after their preparation."""

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from services.adapters.postgres.tables import Dataset, Json
from services.domain.errors import NotFound


async def insert(session: AsyncSession, dataset_id: str, name: str, source: Json) -> Dataset | None:
    """Store a new data set in preparation; None if its name is taken."""
    values = {"id": dataset_id, "name": name, "source": source, "status": "preparing"}
    statement = upsert(Dataset).values(values).on_conflict_do_nothing().returning(Dataset)
    return await session.scalar(statement)


async def find(session: AsyncSession, name_or_id: str) -> Dataset:
    """Return the data set of this id, or the one that now has this name.

    Raises:
        NotFound: there is none.
    """
    query = select(Dataset).where(
        or_(Dataset.id == name_or_id, (Dataset.name == name_or_id) & (Dataset.status != "failed"))
    )
    dataset = (await session.scalars(query)).first()
    if dataset is None:
        raise NotFound(f"there is no data set {name_or_id!r}")
    return dataset


async def list_newest(session: AsyncSession) -> Sequence[Dataset]:
    """Return every data set, newest first."""
    return (await session.scalars(select(Dataset).order_by(Dataset.id.desc()))).all()
