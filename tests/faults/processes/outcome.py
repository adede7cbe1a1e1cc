"""The attempts and nodes of a job, and what it must leave after faults: the same as without."""

from dataclasses import dataclass
from typing import Any

from cluster import WAIT_SECONDS, Cluster
from cluster_jobs import run
from invariants import verify
from stand_in_trainer import chain, loss

CLOCK_METRICS = ("images_per_second", "data_wait_share", "peak_memory_bytes", "step_seconds/")


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


def reasons_of(cluster: Cluster, job_id: str) -> list[str | None]:
    """Return why each attempt of a job ended, oldest first."""
    return [attempt.reason for attempt in attempts_of(cluster, job_id)]


def nodes_of(cluster: Cluster, job_id: str) -> list[str]:
    """Return the nodes of the newest attempt, by node rank."""
    query = (
        "SELECT nodes.name FROM members JOIN nodes ON nodes.id = members.node_id"
        " WHERE attempt_id ="
        " (SELECT id FROM attempts WHERE job_id = %s ORDER BY number DESC LIMIT 1)"
        " ORDER BY node_rank"
    )
    return [name for (name,) in cluster.query(query, job_id)]


def wait_for_attempt(
    cluster: Cluster, job_id: str, number: int, seconds: float = WAIT_SECONDS
) -> float:
    """Wait until this attempt trains, and return how long that took."""

    def trains() -> bool:
        job = cluster.job(job_id)
        return job["num_attempts"] >= number and job["status"] in {"running", "succeeded"}

    return cluster.wait_until(trains, seconds, job_id)


def assert_exact(cluster: Cluster, job_id: str, *, seed: int, steps: int) -> None:
    """Every metric once and with its value, the right parameters, and nothing left behind."""
    states = chain(seed, steps)
    metrics = cluster.query(
        "SELECT step, value FROM metrics JOIN metric_series ON metric_series.id = series_id"
        " WHERE job_id = %s AND name = 'loss' ORDER BY step",
        job_id,
    )
    assert metrics == [(step, loss(state)) for step, state in enumerate(states, start=1)]
    assert cluster.job(job_id)["result"]["state"] == states[-1].hex()
    run(cluster.database_url, verify)
    assert_nothing_left(cluster, job_id)


def assert_nothing_left(cluster: Cluster, job_id: str) -> None:
    """No slot is taken by the job, and no process works for it."""
    held = (
        "SELECT slots.attempt_id FROM slots JOIN attempts ON attempts.id = slots.attempt_id"
        " WHERE job_id = %s"
    )
    assert cluster.query(held, job_id) == []
    ids = [row[0] for row in cluster.query("SELECT id FROM attempts WHERE job_id = %s", job_id)]

    def is_gone() -> bool:
        kinds = ("runner", "torchrun", "rank")
        processes = [process for kind in kinds for process in cluster.attempt_processes(kind)]
        return not any(attempt in process.where for attempt in ids for process in processes)

    cluster.wait_until(is_gone, 10, job_id)  # a runner says goodbye before it ends


def training_results(cluster: Cluster, job_id: str) -> tuple[list[tuple[Any, ...]], dict[str, str]]:
    """Return every metric but those of a clock, and the checksums of the last parameters."""
    metrics = cluster.query(
        "SELECT name, step, value FROM metrics JOIN metric_series ON metric_series.id = series_id"
        " WHERE job_id = %s ORDER BY name, step",
        job_id,
    )
    [(files,)] = cluster.query(
        "SELECT files FROM checkpoints WHERE job_id = %s AND step = %s AND status = 'committed'",
        *(job_id, cluster.job(job_id)["result"]["step"]),
    )
    parameters = {
        file["name"]: file["sha256"] for file in files if "checkpoint" not in file["name"]
    }
    return [row for row in metrics if not row[0].startswith(CLOCK_METRICS)], parameters
