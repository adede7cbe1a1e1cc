"""What the ranks of a job printed, as their runners stored it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.database.session import in_seconds
from services.database.tables import Attempt, LogChunk

MAX_CHUNKS = 64  # read at once
MAX_LOG_BYTES = 16 * 2**20  # of one rank and attempt; the whole is on the node


@dataclass(frozen=True)
class LogPlace:
    """How far a reader of a job's log is."""

    attempt: int
    offset: int


@dataclass(frozen=True)
class LogText:
    """Whole lines of a rank in one attempt."""

    attempt: int
    rank: int
    offset: int
    text: str

    @property
    def end(self) -> int:
        """Where the text after it begins."""
        return self.offset + len(self.text.encode())


async def newest_attempt(session: AsyncSession, job_id: str, *, rank: int) -> int | None:
    """Return the number of the newest attempt in which this rank printed something."""
    query = (
        select(func.max(Attempt.number))
        .join(LogChunk, LogChunk.attempt_id == Attempt.id)
        .where(Attempt.job_id == job_id, LogChunk.rank == rank)
    )
    return await session.scalar(query)


async def read_tail(
    session: AsyncSession, job_id: str, *, attempt: int, rank: int, num_lines: int
) -> LogText:
    """Return the last lines of a rank in an attempt; empty where there are none."""
    query = (
        select(LogChunk)
        .join(Attempt, Attempt.id == LogChunk.attempt_id)
        .where(Attempt.job_id == job_id, Attempt.number == attempt, LogChunk.rank == rank)
        .order_by(LogChunk.offset.desc())
        .limit(MAX_CHUNKS)
    )
    text, end = "", 0
    for chunk in await session.scalars(query):
        end = end or chunk.offset + chunk.num_bytes
        text = chunk.text + text
        if text.count("\n") > num_lines:
            break
    last_lines = "".join(text.splitlines(keepends=True)[-num_lines:]) if num_lines else ""
    return LogText(attempt, rank, end - len(last_lines.encode()), last_lines)


async def read_after(
    session: AsyncSession, job_id: str, place: LogPlace, *, rank: int
) -> Sequence[LogText]:
    """Return what a rank printed after a place: the rest of that attempt, and later attempts."""
    later = (Attempt.number > place.attempt) | (
        (Attempt.number == place.attempt) & (LogChunk.offset >= place.offset)
    )
    query = (
        select(Attempt.number, LogChunk.offset, LogChunk.text)
        .join(Attempt, Attempt.id == LogChunk.attempt_id)
        .where(Attempt.job_id == job_id, LogChunk.rank == rank, later)
        .order_by(Attempt.number, LogChunk.offset)
        .limit(MAX_CHUNKS)
    )
    return [
        LogText(number, rank, offset, text) for number, offset, text in await session.execute(query)
    ]


async def delete_old(session: AsyncSession, *, kept_seconds: float) -> None:
    """Delete the logs of attempts that ended longer ago."""
    ended = select(Attempt.id).where(Attempt.finished_at < in_seconds(-kept_seconds))
    await session.execute(delete(LogChunk).where(LogChunk.attempt_id.in_(ended)))


async def add(
    session: AsyncSession, attempt: Attempt, *, rank: int, offset: int, text: str
) -> None:
    """Store a piece of what a rank printed; again is no error. Of a long log the newest stays."""
    size = len(text.encode())
    row = {"attempt_id": attempt.id, "rank": rank, "offset": offset, "text": text}
    statement = insert(LogChunk).values(**row, num_bytes=size)
    await session.execute(statement.on_conflict_do_nothing())
    first_kept = offset + size - MAX_LOG_BYTES
    if first_kept > 0:
        same_rank = (LogChunk.attempt_id == attempt.id, LogChunk.rank == rank)
        old = LogChunk.offset + LogChunk.num_bytes <= first_kept
        await session.execute(delete(LogChunk).where(*same_rank, old))
