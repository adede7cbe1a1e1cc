"""Training with every part of the service killed once is bit-equal to undisturbed training."""

from signal import SIGKILL

import pytest
from cluster import Cluster
from cluster_jobs import prepare_digits, submit_training
from outcome import training_results

NUM_STEPS = 105


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One node of two slots, with the real trainer and prepared digits."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.start_scheduler()
        cluster.start_worker("n1")
        prepare_digits(cluster)
        yield cluster


def submit(cluster):
    return submit_training(cluster, slots=2, epochs=7, batch_size=150)


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
    metrics, parameters = training_results(cluster, disturbed)
    assert (metrics, parameters) == training_results(cluster, undisturbed)
    assert {step for _, step, _ in metrics} >= set(range(10, NUM_STEPS, 10))
