"""Counts of everything, for those who watch over the service."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.domain.retry import STOP_REASONS
from services.domain.states import Reason

_QUERIES = {
    "jobs": "SELECT status, kind, count(*) FROM jobs GROUP BY status, kind",
    # Since it came back to the queue, or was submitted.
    "waits": """
        SELECT reason, extract(epoch FROM max(clock_timestamp() - coalesce(
            (SELECT at FROM events WHERE job_id = jobs.id AND type = 'queued'
            ORDER BY number DESC LIMIT 1), created_at)))
        FROM jobs WHERE status = 'queued' GROUP BY reason
    """,
    "attempts_ended": """
        SELECT coalesce(reason, 'unknown'), count(*) FROM attempts
        WHERE status = 'finished' GROUP BY 1
    """,
    "leases": "SELECT status, count(*) FROM members WHERE status <> 'finished' GROUP BY status",
    "slots": """
        SELECT nodes.slot_kind, CASE WHEN slots.attempt_id IS NOT NULL THEN 'taken'
            WHEN nodes.lease_expires_at < clock_timestamp() THEN 'lost'
            WHEN nodes.cordoned THEN 'cordoned' ELSE 'free' END, count(*)
        FROM slots JOIN nodes ON nodes.id = slots.node_id
        WHERE slots.attempt_id IS NOT NULL
            OR slots.offered AND (slots.device IS NOT NULL OR slots.index < nodes.num_slots)
        GROUP BY 1, 2
    """,
    "disk_bytes": """
        SELECT name, disk_bytes FROM nodes WHERE lease_expires_at > clock_timestamp()
    """,
    "disk_free_bytes": """
        SELECT name, disk_free_bytes FROM nodes WHERE lease_expires_at > clock_timestamp()
    """,
    "checkpoint_bytes": """
        SELECT status, sum((SELECT sum((file->>'size_bytes')::bigint)
            FROM jsonb_array_elements(files) AS file)) FROM checkpoints GROUP BY status
    """,
    "checkpoint_age": """
        SELECT 'running', coalesce(extract(epoch FROM max(clock_timestamp() - greatest(
            (SELECT max(created_at) FROM checkpoints WHERE checkpoints.job_id = jobs.id),
            (SELECT max(started_at) FROM attempts WHERE attempts.job_id = jobs.id)))), 0)
        FROM jobs WHERE status = 'running' AND kind = 'train'
    """,
    # Lost is what an attempt that failed did after the last thing that it saved.
    "slot_seconds": """
        SELECT 'used', coalesce(sum(seconds), 0) FROM spent
        UNION ALL SELECT 'lost', coalesce(sum(lost), 0) FROM spent
    """,
    "scheduler_age": """
        SELECT 'leader', extract(epoch FROM clock_timestamp() - max(seen_at)) FROM leaders
    """,
}
_NO_ENDS = {
    *(Reason.WAITING_FOR_SLOTS, Reason.WAITING_FOR_RETRY),
    *(Reason.PAUSE_REQUESTED, Reason.CANCEL_REQUESTED),
}
# Told even when they are 0: a rate sees the first one only if there was something before it.
_FROM_ZERO = {"attempts_ended": [(str(reason),) for reason in Reason if reason not in _NO_ENDS]}
_NOTHING_LOST = ", ".join(f"'{reason}'" for reason in sorted({Reason.SUCCEEDED, *STOP_REASONS}))
_SPENT = f"""
WITH spent AS (
    SELECT jobs.num_nodes * jobs.num_slots * extract(epoch FROM
            coalesce(attempts.finished_at, clock_timestamp()) - attempts.started_at) AS seconds,
        CASE WHEN attempts.reason IN ({_NOTHING_LOST})
            OR attempts.finished_at IS NULL THEN 0
        ELSE jobs.num_nodes * jobs.num_slots * extract(epoch FROM attempts.finished_at - coalesce(
            (SELECT max(created_at) FROM checkpoints WHERE checkpoints.attempt_id = attempts.id),
            attempts.started_at)) END AS lost
    FROM attempts JOIN jobs ON jobs.id = attempts.job_id WHERE attempts.started_at IS NOT NULL
)
"""  # noqa: S608


@dataclass(frozen=True)
class Counts:
    """Rows of labels and, last, a number; by what they count."""

    counts: dict[str, list[tuple[tuple[str, ...], float]]]


async def read_counts(session: AsyncSession) -> Counts:
    """Count everything, in one transaction."""
    counts = {}
    for name, query in _QUERIES.items():
        statement = f"{_SPENT}{query}" if "FROM spent" in query else query
        rows = await session.execute(text(statement))
        numbers = {
            tuple(str(label) for label in labels): float(number)
            for *labels, number in rows
            if number is not None
        }
        counts[name] = list((dict.fromkeys(_FROM_ZERO.get(name, ()), 0.0) | numbers).items())
    return Counts(counts)
