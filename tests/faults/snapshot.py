"""The rows that the model of the service is compared with, read by the tests' own queries."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from services.database.attempts import Claim
from services.database.tables import Base

_ENDED = "('succeeded', 'failed', 'cancelled')"
_DIGEST = " UNION ALL ".join(
    f"SELECT '{table.name}', md5(string_agg(row::text, '|' ORDER BY row::text))"
    f" FROM {table.name} AS row"
    for table in Base.metadata.sorted_tables
)
_NEEDED = f"""
    SELECT checkpoints.id FROM checkpoints JOIN jobs ON jobs.id = job_id
    WHERE pinned
        OR EXISTS (
            SELECT FROM jobs AS readers
            WHERE checkpoint_id = checkpoints.id AND readers.status NOT IN {_ENDED}
        )
        OR (
            checkpoints.status IN ('superseded', 'corrupt')
            AND changed_at > clock_timestamp() - make_interval(secs => :grace_seconds)
        )
        OR (
            checkpoints.status = 'committed'
            AND (
                SELECT count(*) FROM checkpoints AS newer
                WHERE newer.job_id = checkpoints.job_id AND newer.status = 'committed'
                    AND newer.step > checkpoints.step
            ) < CASE WHEN jobs.status IN {_ENDED} THEN 1 ELSE 2 END
        )
"""


@dataclass(frozen=True)
class Snapshot:
    """What `service_model` is compared with."""

    attempts: list[Any]  # those that live
    held: dict[Claim, str]  # the node of each claim that is good
    job_ids: set[str]
    ended: dict[str, Any]  # jobs, without what may still change
    metrics: dict[tuple[str, str, int], float]
    checkpoints: dict[str, tuple[str, int]]  # job and step
    marked: set[str]  # checkpoints that go


async def rows(database, query, **values):
    """Return the rows of a query."""
    async with database.transaction() as session:
        return (await session.execute(text(query), values)).all()


async def digest(database):
    """Return what changes when any row does."""
    return await rows(database, _DIGEST)


async def needed_checkpoints(database, *, grace_seconds):
    """Return the ids of checkpoints that must not be deleted: pinned, read, young or newest."""
    ids = await rows(database, _NEEDED, grace_seconds=grace_seconds)
    return {checkpoint_id for (checkpoint_id,) in ids}


async def take_snapshot(session):
    """Read everything in one transaction."""

    async def read(query):
        return (await session.execute(text(query))).all()

    attempts = await read(
        "SELECT attempts.id, job_id, num_nodes, stop_reason, stop_forced, attempts.reason"
        " FROM attempts JOIN jobs ON jobs.id = job_id WHERE attempts.status <> 'finished'"
    )
    held = await read(
        "SELECT attempt_id, fence, node_rank, members.node_id"
        " FROM members JOIN attempts ON attempts.id = attempt_id"
        " WHERE members.status IN ('claimed', 'ready') AND attempts.status <> 'finished'"
    )
    jobs = await read(
        "SELECT id, status, reason, message, result, run_seconds, num_attempts FROM jobs"
    )
    metrics = await read(
        "SELECT job_id, name, step, value"
        " FROM metrics JOIN metric_series ON metric_series.id = series_id"
    )
    checkpoints = await read("SELECT id, job_id, step, status FROM checkpoints")
    return Snapshot(
        attempts=attempts,
        held={Claim(*claim): node_id for *claim, node_id in held},
        job_ids={job.id for job in jobs},
        ended={job.id: job for job in jobs if f"'{job.status}'" in _ENDED},
        metrics={(job_id, name, step): value for job_id, name, step, value in metrics},
        checkpoints={row.id: (row.job_id, row.step) for row in checkpoints},
        marked={row.id for row in checkpoints if row.status in {"deleting", "deleted"}},
    )
