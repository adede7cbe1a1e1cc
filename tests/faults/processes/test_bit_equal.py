"""The strongest promise: training that every part of the service dies under is the training."""

from signal import SIGKILL

import pytest
from cluster import Cluster
from submitting import run

from nvae_core.config import BundledSource
from services.api.submission import register_dataset, submit_job
from services.domain.jobs import DatasetSpec, TrainSpec

SPEC = {
    "kind": "train",
    "preset": "mnist-test",
    "dataset": "digits",
    "resources": {"slots": 2},
    "overrides": {"optimization.epochs": 7},
    "checkpoint": {"every_steps": 5},
    "validation": {"every_steps": 20, "num_images": 50},
    "seed": 11,
}
NUM_STEPS = 105
CLOCKED = ("images_per_second", "data_wait_share", "peak_memory_bytes", "step_seconds/")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One node of two slots, with the real trainer and prepared digits."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.start_scheduler()
        cluster.start_worker("n1")
        source = BundledSource(name="mnist_5k")
        _, preparation = run(
            cluster.database_url,
            lambda database: register_dataset(
                database, DatasetSpec(name="digits", source=source), s3_prefixes=()
            ),
        )
        cluster.wait_for_job(preparation.id, "succeeded")
        yield cluster


def submit(cluster):
    spec = TrainSpec.model_validate(SPEC)
    return run(cluster.database_url, lambda database: submit_job(database, spec)).id


def kill_a_rank(cluster):
    cluster.attempt_processes("rank", "n1")[-1].send(SIGKILL)


def kill_the_runner(cluster):
    cluster.attempt_processes("runner", "n1")[0].send(SIGKILL)


def restart(name):
    def kill_and_start(cluster):
        cluster.kill(name)
        if name == "scheduler":
            cluster.start_scheduler()
        elif name == "worker-n1":
            cluster.start_worker("n1")
        else:
            cluster.start_server(name)

    return kill_and_start


def cut(name):
    return lambda cluster: cluster.proxies[name].cut()


FAULTS = (
    (8, restart("worker-n1")),
    (12, kill_a_rank),
    (28, restart("valkey")),
    (36, cut("s3")),
    (41, restart("postgres")),
    (52, restart("seaweedfs")),
    (58, cut("postgres")),
    (63, restart("scheduler")),
    (77, kill_the_runner),
)


def what_came_out(cluster, job_id):
    """Return every metric but those of a clock, and the checksums of the last parameters."""
    metrics = cluster.query(
        "SELECT name, step, value FROM metrics JOIN metric_series ON metric_series.id = series_id"
        " WHERE job_id = %s ORDER BY name, step",
        job_id,
    )
    [(files,)] = cluster.query(
        "SELECT files FROM checkpoints WHERE job_id = %s AND step = %s AND status = 'committed'",
        *(job_id, NUM_STEPS),
    )
    parameters = {
        file["name"]: file["sha256"] for file in files if "checkpoint" not in file["name"]
    }
    return [row for row in metrics if not row[0].startswith(CLOCKED)], parameters


@pytest.mark.full
def test_training_that_everything_dies_under_is_bit_equal_to_one_that_nothing_disturbs(cluster):
    disturbed = submit(cluster)
    for step, fault in FAULTS:
        cluster.wait_for_step(disturbed, step, 180)
        fault(cluster)
    cluster.wait_for_job(disturbed, "succeeded", 300)
    assert cluster.job(disturbed)["num_attempts"] == 3
    undisturbed = submit(cluster)
    cluster.wait_for_job(undisturbed, "succeeded", 300)
    assert cluster.job(undisturbed)["num_attempts"] == 1
    metrics, parameters = what_came_out(cluster, disturbed)
    assert (metrics, parameters) == what_came_out(cluster, undisturbed)
    assert {step for _, step, _ in metrics} >= set(range(10, NUM_STEPS, 10))
