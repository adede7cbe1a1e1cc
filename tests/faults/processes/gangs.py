"""Where the attempts of a job were, and why they ended."""

from dataclasses import dataclass

from cluster import Cluster


@dataclass(frozen=True)
class AttemptEnd:
    """How an attempt ended, if it has."""

    reason: str | None
    message: str
    failed_node: str | None
    is_finished: bool


def attempts_of(cluster: Cluster, job_id: str) -> list[AttemptEnd]:
    """Return the attempts of a job, oldest first."""
    query = (
        "SELECT reason, message, nodes.name, finished_at IS NOT NULL"
        " FROM attempts LEFT JOIN nodes ON nodes.id = failed_node_id"
        " WHERE job_id = %s ORDER BY number"
    )
    return [AttemptEnd(*row) for row in cluster.query(query, job_id)]


def nodes_of(cluster: Cluster, job_id: str) -> list[str]:
    """Return the nodes of the newest attempt, by node rank."""
    query = (
        "SELECT nodes.name FROM members JOIN nodes ON nodes.id = members.node_id"
        " WHERE attempt_id ="
        " (SELECT id FROM attempts WHERE job_id = %s ORDER BY number DESC LIMIT 1)"
        " ORDER BY node_rank"
    )
    return [name for (name,) in cluster.query(query, job_id)]


def wait_for_attempt(cluster: Cluster, job_id: str, number: int, *, seconds: float) -> float:
    """Wait until this attempt trains, and return how long that took."""

    def trains() -> bool:
        job = cluster.job(job_id)
        return job["num_attempts"] >= number and job["status"] in {"running", "succeeded"}

    return cluster.wait_until(trains, seconds, job_id)
