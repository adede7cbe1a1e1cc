"""Data sets: registered by a name within a project, ready after their preparation."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from services.database.tables import Dataset, Job, Json
from services.domain.errors import Conflict, NotFound
from services.domain.keys import StoredFile
from services.domain.states import TERMINAL


async def insert(
    session: AsyncSession, dataset_id: str, *, project: str, name: str, source: Json
) -> Dataset | None:
    """Store a new data set in preparation; None if its name is taken in the project."""
    values = {"id": dataset_id, "project": project, "name": name, "source": source}
    values |= {"status": "preparing"}
    statement = upsert(Dataset).values(values).on_conflict_do_nothing().returning(Dataset)
    return await session.scalar(statement)


async def find(
    session: AsyncSession,
    project: str,
    name_or_id: str,
    *,
    lock: Literal["use", "change"] | None = None,
) -> Dataset:
    """Return the project's data set of this id, or the one that now has this name.

    Locked for use, it stays as it is until this transaction ends; whoever wants to delete it sees
    the job that the transaction stores.

    Raises:
        NotFound: there is none.
    """
    has_name = (Dataset.name == name_or_id) & Dataset.status.not_in(["failed", "deleted"])
    query = select(Dataset).where(
        Dataset.project == project, or_(Dataset.id == name_or_id, has_name)
    )
    if lock is not None:
        query = query.with_for_update(read=lock == "use", key_share=lock == "change")
    dataset = (await session.scalars(query)).first()
    if dataset is None:
        raise NotFound(f"there is no data set {name_or_id!r}")
    return dataset


async def list_newest(session: AsyncSession, project: str) -> Sequence[Dataset]:
    """Return the data sets of a project that were not deleted, newest first."""
    query = select(Dataset).where(Dataset.project == project, Dataset.status != "deleted")
    return (await session.scalars(query.order_by(Dataset.id.desc()))).all()


async def delete(session: AsyncSession, project: str, name_or_id: str) -> Dataset:
    """Make a data set unusable, and its name free; again, by its id, is no error.

    Raises:
        NotFound: there is none.
        Conflict: it is being prepared, or a job that has not ended uses it.
    """
    dataset = await find(session, project, name_or_id, lock="change")
    if dataset.status == "deleted":
        return dataset
    query = select(Job.id).where(Job.dataset_id == dataset.id, Job.status.not_in(sorted(TERMINAL)))
    user = await session.scalar(query.order_by(Job.id).limit(1))
    if user is not None:
        raise Conflict(f"data set {name_or_id!r} is used by job {user}, which has not ended")
    dataset.status = "deleted"
    return dataset


async def publish(
    session: AsyncSession,
    dataset_id: str,
    *,
    description: dict[str, Any],
    prefix: str,
    files: Sequence[StoredFile],
) -> None:
    """Make a prepared data set ready for use."""
    await session.execute(
        update(Dataset)
        .where(Dataset.id == dataset_id)
        .values(
            status="ready",
            description=description,
            content_hash=description["content_hash"],
            prefix=prefix,
            files=[asdict(file) for file in files],
        )
    )


async def fail(session: AsyncSession, dataset_id: str | None, message: str | None) -> None:
    """Record that the preparation of a data set has failed, and why."""
    failed = {"status": "failed", "message": message}
    await session.execute(update(Dataset).where(Dataset.id == dataset_id).values(failed))
