"""Jobs of fault runs with the real trainer, on digits that were prepared, and what they left."""

from typing import Any

from cluster import Cluster
from submitting import run

from nvae_core.config import BundledSource
from services.api.jobs.submission import register_dataset, submit_job
from services.domain.specs import DatasetSpec, TrainSpec

SPEC = {
    "kind": "train",
    "preset": "mnist-test",
    "dataset": "digits",
    "checkpoint": {"every_steps": 5},
    "validation": {"every_steps": 20, "num_images": 50},
    "seed": 11,
}
CLOCKED = ("images_per_second", "data_wait_share", "peak_memory_bytes", "step_seconds/")


def prepare_digits(cluster: Cluster) -> None:
    """Register the data set `digits` and wait until it is prepared."""
    spec = DatasetSpec(name="digits", source=BundledSource(name="mnist_5k"))

    async def register(database):
        async with database.transaction() as session:
            return await register_dataset(session, spec, project="default", s3_prefixes=())

    _, preparation = run(cluster.database_url, register)
    cluster.wait_for_job(preparation.id, "succeeded")


def submit_training(
    cluster: Cluster, *, slots: int, nodes: int = 1, epochs: int = 1, batch_size: int = 75
) -> str:
    """Submit a job for the real trainer, with so many slots on each node, and return its id."""
    spec = TrainSpec.model_validate(
        {
            **SPEC,
            "resources": {"nodes": nodes, "slots": slots},
            "overrides": {"optimization.epochs": epochs, "optimization.batch_size": batch_size},
        }
    )

    async def submit(database):
        async with database.transaction() as session:
            return await submit_job(session, spec, project="default")

    return run(cluster.database_url, submit).id


def what_came_out(cluster: Cluster, job_id: str) -> tuple[list[tuple[Any, ...]], dict[str, str]]:
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
    return [row for row in metrics if not row[0].startswith(CLOCKED)], parameters
