"""Answers to requests with an idempotency key, stored in the transaction of their effect."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.database.session import in_seconds
from services.database.tables import IdempotentAnswer
from services.domain.errors import IdempotencyKeyReused

KEPT_SECONDS = 86_400.0


@dataclass(frozen=True)
class StoredAnswer:
    """What was answered."""

    status: int
    location: str | None
    body: str


async def begin(
    session: AsyncSession, project: str, key: str, *, request_hash: str
) -> StoredAnswer | None:
    """Return the answer of a request that came before, or None if this one is the first.

    A second one that comes while the first is under way waits here for the end of its transaction.

    Raises:
        IdempotencyKeyReused: the one before was another request.
    """
    row = {"project": project, "key": key, "request_hash": request_hash}
    first = insert(IdempotentAnswer).values(row)
    renewed = {"request_hash": request_hash, "status": None, "created_at": func.clock_timestamp()}
    first = first.on_conflict_do_update(
        index_elements=[IdempotentAnswer.project, IdempotentAnswer.key],
        set_=renewed,
        where=IdempotentAnswer.created_at < in_seconds(-KEPT_SECONDS),
    )
    if await session.scalar(first.returning(IdempotentAnswer.key)) is not None:
        return None
    query = select(IdempotentAnswer).where(_is(project, key))
    found = (await session.scalars(query)).one()
    if found.request_hash != request_hash:
        raise IdempotencyKeyReused("this idempotency key came before, with another request")
    assert found.status is not None
    assert found.body is not None
    return StoredAnswer(found.status, found.location, found.body)


async def finish(session: AsyncSession, project: str, key: str, answer: StoredAnswer) -> None:
    """Store the answer of the request that was the first."""
    values = {"status": answer.status, "location": answer.location, "body": answer.body}
    await session.execute(update(IdempotentAnswer).where(_is(project, key)).values(values))


async def delete_old(session: AsyncSession) -> None:
    """Delete the answers that nobody will ask for again."""
    old = IdempotentAnswer.created_at < in_seconds(-KEPT_SECONDS)
    await session.execute(delete(IdempotentAnswer).where(old))


def _is(project: str, key: str) -> ColumnElement[bool]:
    return (IdempotentAnswer.project == project) & (IdempotentAnswer.key == key)
