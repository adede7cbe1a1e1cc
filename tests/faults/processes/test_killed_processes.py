"""kill -9 and SIGSTOP of what runs a job: it goes on, and ends as it would have."""

from signal import SIGKILL, SIGSTOP

import pytest
from cluster_jobs import cancel, drain, pause, resume, submit
from outcome import (
    assert_exact,
    assert_nothing_left,
    nodes_of,
    reasons_of,
    wait_for_attempt,
)

STEPS = 250


@pytest.fixture
def job(cluster):
    """A job that has begun, with checkpoints behind it."""
    job_id = submit(cluster.database_url, steps=STEPS, seed=3)
    cluster.wait_for_step(job_id, 30)
    return job_id


def node_of(cluster, job_id):
    [node] = nodes_of(cluster, job_id)
    return node


def test_rank_that_is_killed_is_replaced(cluster, job, recoveries):
    [rank] = cluster.attempt_processes("rank", node_of(cluster, job))
    rank.send(SIGKILL)
    recoveries.note("rank killed", wait_for_attempt(cluster, job, 2), promised_seconds=15)
    cluster.wait_for_job(job, "succeeded")
    assert reasons_of(cluster, job) == ["trainer_crashed", "succeeded"]
    assert_exact(cluster, job, seed=3, steps=STEPS)


def test_runner_that_is_killed_is_replaced(cluster, job, recoveries):
    [runner] = cluster.attempt_processes("runner", node_of(cluster, job))
    runner.send(SIGKILL)
    recoveries.note("runner killed", wait_for_attempt(cluster, job, 2), promised_seconds=30)
    cluster.wait_for_job(job, "succeeded")
    assert reasons_of(cluster, job) == ["worker_lost", "succeeded"]
    assert_exact(cluster, job, seed=3, steps=STEPS)


def test_worker_that_is_killed_is_not_missed(cluster, job):
    node = node_of(cluster, job)
    cluster.kill(f"worker-{node}")
    cluster.start_worker(node, number=int(node[1:]))
    cluster.wait_for_job(job, "succeeded")
    assert reasons_of(cluster, job) == ["succeeded"]
    assert_exact(cluster, job, seed=3, steps=STEPS)


def test_fork_server_that_is_killed_is_replaced_and_its_runners_go_on(cluster, job):
    node = node_of(cluster, job)
    [fork_server] = cluster.attempt_processes("fork server", node)
    fork_server.send(SIGKILL)
    others = [submit(cluster.database_url, steps=5, seed=seed) for seed in (4, 5, 6, 7)]
    for other in others:
        cluster.wait_for_job(other, "succeeded")
    cluster.wait_for_job(job, "succeeded")
    assert reasons_of(cluster, job) == ["succeeded"]
    assert_exact(cluster, job, seed=3, steps=STEPS)


@pytest.mark.full
def test_worker_and_runner_killed_together_are_noticed_by_the_next_worker(cluster, job, recoveries):
    node = node_of(cluster, job)
    [runner] = cluster.attempt_processes("runner", node)
    cluster.kill(f"worker-{node}")
    runner.send(SIGKILL)
    cluster.start_worker(node, number=int(node[1:]))
    seconds = wait_for_attempt(cluster, job, 2)
    recoveries.note("worker and runner killed", seconds, promised_seconds=30)
    cluster.wait_for_job(job, "succeeded")
    assert_exact(cluster, job, seed=3, steps=STEPS)


@pytest.mark.parametrize("how", [SIGKILL, SIGSTOP])
def test_scheduler_that_is_gone_or_hangs_is_replaced_within_seconds(cluster, how, recoveries):
    pid = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    [(leader,)] = cluster.query(pid)
    name = cluster.query("SELECT application_name FROM pg_stat_activity WHERE pid = %s", leader)
    [(name,)] = name
    cluster.send(name, how)
    job_id = submit(cluster.database_url, steps=5)
    seconds = cluster.wait_until(lambda: cluster.job(job_id)["status"] != "queued", 30, job_id)
    recoveries.note(f"scheduler, {how.name}", seconds, promised_seconds=10)
    cluster.send(name, SIGKILL)
    cluster.start_scheduler(name)
    cluster.wait_for_job(job_id, "succeeded")


def test_drained_node_hands_its_job_on_without_losing_a_step(cluster, job):
    node = node_of(cluster, job)
    drain(cluster.database_url, node)
    wait_for_attempt(cluster, job, 2)
    assert node_of(cluster, job) != node
    cluster.wait_for_job(job, "succeeded")
    [message] = cluster.query(
        "SELECT message FROM attempts WHERE job_id = %s AND reason = 'drained'", job
    )
    stopped_at = int(message[0].split()[-1])
    saved = cluster.query("SELECT step FROM checkpoints WHERE job_id = %s", job)
    assert (stopped_at,) in saved
    assert_exact(cluster, job, seed=3, steps=STEPS)
    cluster.query("UPDATE nodes SET cordoned = false")


@pytest.mark.full
def test_paused_job_gives_its_slots_back_and_goes_on_where_it_was(cluster, job):
    pause(cluster.database_url, job)
    cluster.wait_for_job(job, "paused", 15)
    assert_nothing_left(cluster, job)
    resume(cluster.database_url, job)
    cluster.wait_for_job(job, "succeeded")
    assert reasons_of(cluster, job) == ["paused_by_user", "succeeded"]
    assert_exact(cluster, job, seed=3, steps=STEPS)


@pytest.mark.parametrize("forced", [False, True])
def test_cancelled_job_is_gone_within_seconds(cluster, job, forced, recoveries):
    cancel(cluster.database_url, job, forced=forced)
    seconds = cluster.wait_for_job(job, "cancelled", 70)
    how = "by force" if forced else "in order"
    recoveries.note(f"cancelled {how}", seconds, promised_seconds=5)
    assert_nothing_left(cluster, job)
