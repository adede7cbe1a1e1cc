"""Leases that run out: a runner that hangs, a node that is gone, Postgres that is away.

In a full run with the lease that a service has by default, for which recovery times are promised.
"""

import time
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest
from cluster import Cluster, stand_in_settings
from cluster_jobs import add_images, submit
from fault_profile import IS_FULL
from outcome import assert_exact, nodes_of, reasons_of, wait_for_attempt
from time_budget import slowness

from services.settings import LeaseSettings

STEPS = 250
QUICK_LEASE_SECONDS = 3.0
PROMISED_SECONDS = 75


@pytest.fixture(scope="module")
def lease_seconds():
    """The lease of runners and nodes; longer on a machine that is too slow to renew it."""
    return LeaseSettings().seconds if IS_FULL else QUICK_LEASE_SECONDS * slowness()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, lease_seconds):
    """Two nodes of two slots with stand-in trainers."""
    settings = stand_in_settings() | {"NVAE_LEASE_SECONDS": str(lease_seconds)}
    with Cluster(tmp_path_factory.mktemp("cluster"), **settings) as cluster:
        add_images(cluster.database_url)
        cluster.start_scheduler()
        for number, node in enumerate(("n1", "n2"), start=1):
            cluster.start_worker(node, number=number)
        cluster.wait_until(lambda: cluster.query("SELECT count(*) FROM nodes") == [(2,)])
        yield cluster


@pytest.fixture
def job(cluster):
    """A job that has begun, with checkpoints behind it."""
    job_id = submit(cluster.database_url, steps=STEPS, seed=3)
    cluster.wait_for_step(job_id, 30)
    return job_id


def test_runner_that_hangs_past_its_lease_writes_nothing_any_more(cluster, job, recoveries):
    [runner] = cluster.attempt_processes("runner", nodes_of(cluster, job)[0])
    runner.send(SIGSTOP)
    seconds = wait_for_attempt(cluster, job, 2)
    recoveries.note("runner hangs", seconds, promised_seconds=PROMISED_SECONDS)
    runner.send(SIGCONT)
    cluster.wait_for_job(job, "succeeded")
    assert reasons_of(cluster, job) == ["worker_lost", "succeeded"]
    assert_exact(cluster, job, seed=3, steps=STEPS)


def test_node_that_goes_silently_loses_its_jobs_to_another(cluster, job, recoveries):
    [node] = nodes_of(cluster, job)
    cluster.kill(f"worker-{node}")
    for kind in ("runner", "rank"):
        for process in cluster.attempt_processes(kind, node):
            process.send(SIGKILL)
    recoveries.note(
        "node gone", wait_for_attempt(cluster, job, 2), promised_seconds=PROMISED_SECONDS
    )
    assert nodes_of(cluster, job) != [node]
    cluster.wait_for_job(job, "succeeded")
    assert reasons_of(cluster, job) == ["node_lost", "succeeded"]
    assert_exact(cluster, job, seed=3, steps=STEPS)
    cluster.start_worker(node, number=int(node[1:]))


def test_postgres_is_away_for_longer_than_the_lease(cluster, job, lease_seconds):
    cluster.proxies["postgres"].refuse()
    time.sleep(2.5 * lease_seconds)
    cluster.proxies["postgres"].restore()
    cluster.wait_for_job(job, "succeeded")
    assert reasons_of(cluster, job) == ["succeeded"]
    assert_exact(cluster, job, seed=3, steps=STEPS)
