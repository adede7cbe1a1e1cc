"""Postgres, the broker and S3 go away, come back, and are slow: no attempt is lost by it."""

import time
from signal import SIGKILL

import pytest
from cluster_jobs import submit
from outcome import assert_exact

STEPS = 300


@pytest.fixture
def job(cluster):
    """A job that has begun, with checkpoints behind it."""
    job_id = submit(cluster.database_url, steps=STEPS, seed=5)
    cluster.wait_for_step(job_id, 30)
    return job_id


def ends_in_its_first_attempt(cluster, job, seconds=90.0):
    cluster.wait_for_job(job, "succeeded", seconds)
    assert cluster.job(job)["num_attempts"] == 1
    assert_exact(cluster, job, seed=5, steps=STEPS)


def test_postgres_is_killed_and_comes_back(cluster, job):
    cluster.send("postgres", SIGKILL)
    cluster.start_server("postgres")
    ends_in_its_first_attempt(cluster, job)


def test_connections_to_postgres_are_cut(cluster, job):
    for _ in range(5):
        cluster.proxies["postgres"].cut()
        time.sleep(0.3)  # another moment of what goes on
    ends_in_its_first_attempt(cluster, job)


@pytest.mark.full
def test_network_to_postgres_hangs_for_some_seconds(cluster, job):
    cluster.proxies["postgres"].hold()
    time.sleep(12)
    cluster.proxies["postgres"].restore()
    ends_in_its_first_attempt(cluster, job)


def test_s3_is_away_while_checkpoints_are_made(cluster, job):
    cluster.proxies["s3"].refuse()
    cluster.wait_for_step(job, 120)  # metrics do not wait for it
    cluster.proxies["s3"].restore()
    ends_in_its_first_attempt(cluster, job)
    saved = cluster.query("SELECT max(step) FROM checkpoints WHERE job_id = %s", job)
    assert saved == [(STEPS,)]


@pytest.mark.full
def test_uploads_are_cut_in_the_middle(cluster, job):
    for _ in range(10):
        cluster.proxies["s3"].cut()
        time.sleep(0.2)
    ends_in_its_first_attempt(cluster, job)


@pytest.mark.full
def test_s3_is_killed_and_comes_back(cluster, job):
    cluster.kill("seaweedfs")
    cluster.start_server("seaweedfs")
    ends_in_its_first_attempt(cluster, job)


def test_jobs_start_and_stop_without_the_broker(cluster, recoveries):
    cluster.kill("valkey")
    job = submit(cluster.database_url, steps=STEPS, seed=5)
    seconds = cluster.wait_until(lambda: cluster.job(job)["status"] == "running", 30, job)
    recoveries.note("start with the broker down", seconds, promised_seconds=15)
    ends_in_its_first_attempt(cluster, job)
    cluster.start_server("valkey")


@pytest.mark.full
def test_doorbells_that_the_broker_forgot_are_not_needed(cluster):
    cluster.proxies["valkey"].hold()
    job = submit(cluster.database_url, steps=STEPS, seed=5)
    ends_in_its_first_attempt(cluster, job)
    cluster.proxies["valkey"].restore()
