"""What a job that faults hit must have left: what it would have without them."""

from cluster import Cluster
from promises import verify
from stand_in_trainer import chain, loss
from submitting import run


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
        left = [found for kind in kinds for found in cluster.attempt_processes(kind)]
        return not any(attempt in process.where for attempt in ids for process in left)

    cluster.wait_until(is_gone, 10, job_id)  # a runner says goodbye before it ends
