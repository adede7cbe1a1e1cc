"""Attempts and their members: placed by the scheduler, claimed by workers, held behind the fence.

Locks are always taken in the order job, attempt, member: whoever needs the job locks it first.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Row, Text, cast, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.database import jobs
from services.database.session import Database, in_seconds, read_clock
from services.database.tables import Attempt, Member, Slot
from services.domain.errors import LeaseLost
from services.domain.retry import STOP_REASONS
from services.domain.states import AttemptStatus, JobStatus, MemberStatus, Reason

LIVE_MEMBER = (MemberStatus.CLAIMED, MemberStatus.READY)
_ORDERS = (Attempt.status, Attempt.stop_reason, Attempt.stop_forced, Attempt.reason)


@dataclass(frozen=True)
class Claim:
    """What a runner shows to write for one node of an attempt."""

    attempt_id: str
    fence: int
    node_rank: int = 0


@dataclass(frozen=True)
class Orders:
    """What a runner is to do: start the trainer once all nodes are ready, or stop, and why."""

    go: bool
    stop: Reason | None
    forced: bool


async def claim(session: AsyncSession, node_id: str, *, lease_seconds: float) -> list[Claim]:
    """Take what was placed on this node; each share is returned to one caller only."""
    statement = (
        update(Member)
        .where(
            Member.node_id == node_id,
            Member.status == MemberStatus.PLACED,
            Attempt.id == Member.attempt_id,
        )
        .values(status=MemberStatus.CLAIMED, lease_expires_at=in_seconds(lease_seconds))
        .returning(Member.attempt_id, Attempt.fence, Member.node_rank)
    )
    return [Claim(*row) for row in await session.execute(statement)]


async def fenced(session: AsyncSession, claim: Claim) -> Attempt:
    """Return the attempt, locked with its job, if this runner still owns its share.

    The first statement of every write on behalf of an attempt.

    Raises:
        LeaseLost: the attempt ended, or another runner owns it.
    """
    job_id = await session.scalar(select(Attempt.job_id).where(*_owned(claim)))
    if job_id is not None:
        await jobs.find(session, job_id, lock=True)
        # Only now, behind the lock, is it certain.
        query = select(Attempt).where(*_owned(claim)).with_for_update(of=Attempt)
        attempt = (await session.scalars(query)).one_or_none()
        if attempt is not None:
            return attempt
    raise _lost(claim)


@asynccontextmanager
async def fenced_write(
    database: Database, claim: Claim
) -> AsyncIterator[tuple[AsyncSession, Attempt]]:
    """One transaction on behalf of an attempt, with its locked row.

    Raises:
        LeaseLost: as in `fenced`; nothing was written.
        DatabaseUnavailable: nothing was committed, or nobody can tell whether it was.
    """
    async with database.transaction() as session:
        yield session, await fenced(session, claim)


async def renew(session: AsyncSession, claim: Claim, *, lease_seconds: float) -> Orders:
    """Extend the lease of a share; return what its runner is to do.

    Raises:
        LeaseLost: as in `fenced`.
    """
    lease = in_seconds(lease_seconds)
    renewed = update(Member).where(*_owned(claim)).values(lease_expires_at=lease)
    row = (await session.execute(renewed.returning(*_ORDERS))).one_or_none()
    return _orders(row, claim)


async def look(session: AsyncSession, claim: Claim) -> Orders:
    """Return what the runner is to do, without a write; raises as `renew`."""
    row = (await session.execute(select(*_ORDERS).where(*_owned(claim)))).one_or_none()
    return _orders(row, claim)


def _orders(row: Row[str, str | None, bool, str | None] | None, claim: Claim) -> Orders:
    if row is None:
        raise _lost(claim)
    status, stop_reason, forced, reason = row
    if reason is not None and is_failure(reason):  # another node's: nothing to wait for
        return Orders(go=False, stop=Reason(reason), forced=True)
    stop = Reason(stop_reason) if stop_reason else None
    return Orders(go=status == AttemptStatus.RUNNING, stop=stop, forced=forced)


def is_failure(reason: str | None) -> bool:
    """Whether a cause that an attempt knows of ends it on all nodes at once."""
    return reason is not None and reason != Reason.SUCCEEDED and reason not in STOP_REASONS


async def make_ready(session: AsyncSession, claim: Claim) -> Orders:
    """Record that a node could start the trainer; the last one starts it everywhere.

    Raises:
        LeaseLost: as in `fenced`.
    """
    attempt = await fenced(session, claim)
    now = await read_clock(session)
    members = await list_members(session, attempt.id)
    own = next(member for member in members if member.node_rank == claim.node_rank)
    if own.status == MemberStatus.CLAIMED:
        own.status, own.ready_at = MemberStatus.READY, now
    are_ready = all(member.status == MemberStatus.READY for member in members)
    is_wanted = attempt.stop_reason is None and attempt.reason is None
    if attempt.status == AttemptStatus.PLACED and are_ready and is_wanted:
        attempt.status, attempt.started_at = AttemptStatus.RUNNING, now
        job = await jobs.find(session, attempt.job_id)
        if job.status == JobStatus.STARTING:
            await jobs.change_status(session, job, JobStatus.RUNNING, attempt=attempt.number)
    await session.flush()
    return await look(session, claim)


async def request_stop(
    session: AsyncSession, attempt: Attempt, reason: Reason, *, forced: bool = False
) -> None:
    """Tell the runners of an attempt, whose job is locked, to end it; the first reason stays."""
    attempt.stop_reason = attempt.stop_reason or reason
    attempt.stop_forced = attempt.stop_forced or forced


async def find_live(session: AsyncSession, job_id: str) -> Attempt | None:
    """Return the attempt of a locked job that has not ended, locked, if there is one."""
    query = select(Attempt).where(Attempt.job_id == job_id, Attempt.finished_at.is_(None))
    return (await session.scalars(query.with_for_update())).one_or_none()


async def lock_live(session: AsyncSession, job_id: str, attempt_id: str) -> Attempt | None:
    """Return an attempt that has not ended, locked after its job, if it is still the live one."""
    await jobs.find(session, job_id, lock=True)
    attempt = await find_live(session, job_id)
    return attempt if attempt is not None and attempt.id == attempt_id else None


async def list_members(session: AsyncSession, attempt_id: str) -> Sequence[Member]:
    """Return the nodes' shares of an attempt by node rank, as they are now."""
    query = select(Member).where(Member.attempt_id == attempt_id).order_by(Member.node_rank)
    return (await session.scalars(query.execution_options(populate_existing=True))).all()


async def find_member(session: AsyncSession, claim: Claim) -> Member:
    """Return one node's share of an attempt."""
    return await session.get_one(Member, (claim.attempt_id, claim.node_rank))


async def nodes_of(session: AsyncSession, attempt_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the nodes of several attempts, by attempt, in the order of their ranks."""
    query = select(Member.attempt_id, Member.node_id).where(Member.attempt_id.in_(attempt_ids))
    nodes: dict[str, list[str]] = {attempt_id: [] for attempt_id in attempt_ids}
    for attempt_id, node_id in await session.execute(query.order_by(Member.node_rank)):
        nodes[attempt_id].append(node_id)
    return nodes


async def slots_of(session: AsyncSession, attempt_id: str, node_id: str) -> tuple[str, ...]:
    """Return the slots the attempt holds on this node: UUIDs of GPUs, or numbers of cores."""
    name = func.coalesce(Slot.device, cast(Slot.index, Text))
    query = select(name).where(Slot.attempt_id == attempt_id, Slot.node_id == node_id)
    return tuple(await session.scalars(query.order_by(Slot.index)))


async def list_all(session: AsyncSession, job_id: str) -> Sequence[Attempt]:
    """Return the attempts of a job, oldest first."""
    query = select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)
    return (await session.scalars(query)).all()


def _owned(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    """Return what holds for the rows of an attempt and its member while the claim is good."""
    return (
        Attempt.id == claim.attempt_id,
        Attempt.fence == claim.fence,
        Attempt.status != AttemptStatus.FINISHED,
        Member.attempt_id == Attempt.id,
        Member.node_rank == claim.node_rank,
        Member.status.in_(LIVE_MEMBER),
    )


def _lost(claim: Claim) -> LeaseLost:
    return LeaseLost(f"attempt {claim.attempt_id} with fence {claim.fence} is not live here")
