"""Training over several nodes with the real trainer, and what happens when a part of it fails."""

import socket
from signal import SIGKILL, SIGTERM

import pytest
from cluster import Cluster
from cluster_jobs import cancel, drain, pause, prepare_digits, resume, submit_training
from outcome import (
    assert_nothing_left,
    attempts_of,
    nodes_of,
    reasons_of,
    training_results,
    wait_for_attempt,
)

from services.settings import SchedulerSettings

NUM_STEPS = 30
LONG = 300.0  # seconds for a job on a machine that has other work


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Three nodes of two slots, with the real trainer and prepared digits."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.start_scheduler()
        for number in (1, 2, 3):
            cluster.start_worker(f"n{number}", number=number)
        prepare_digits(cluster)
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(cluster):
    """What training over two nodes leaves that nothing disturbs."""
    job_id = submit_training(cluster, nodes=2, slots=1)
    ends(cluster, job_id, ["succeeded"])
    return training_results(cluster, job_id)


@pytest.fixture
def job(cluster):
    """A job on two nodes that has begun, with checkpoints behind it."""
    job_id = submit_training(cluster, nodes=2, slots=1)
    cluster.wait_for_step(job_id, 10, LONG)
    return job_id


def ends(cluster, job_id, reasons):
    """Wait for success, after attempts that ended for these reasons."""
    cluster.wait_for_job(job_id, "succeeded", LONG)
    assert reasons_of(cluster, job_id) == reasons
    assert cluster.job(job_id)["result"]["step"] == NUM_STEPS
    assert_nothing_left(cluster, job_id)


def test_two_nodes_train_as_two_slots_of_one_node_do(cluster, undisturbed):
    job_id = submit_training(cluster, slots=2)
    ends(cluster, job_id, ["succeeded"])
    # Bit by bit: a sum of two has one result, whoever takes it.
    assert training_results(cluster, job_id) == undisturbed


@pytest.mark.full
def test_rank_that_is_killed_ends_the_attempt_on_both_nodes(cluster, undisturbed, job, recoveries):
    _, second = nodes_of(cluster, job)
    [rank] = cluster.attempt_processes("rank", second)
    rank.send(SIGKILL)
    stopped = cluster.wait_until(lambda: attempts_of(cluster, job)[0].is_finished, 30, job)
    recoveries.note("rank of a gang killed: stopped", stopped, promised_seconds=15)
    began = stopped + wait_for_attempt(cluster, job, 2, seconds=LONG)
    recoveries.note("rank of a gang killed: goes on", began, promised_seconds=30)
    first = attempts_of(cluster, job)[0]
    assert (first.reason, first.failed_node) == ("trainer_crashed", None)
    assert first.message.startswith(f"on {second}: ")
    ends(cluster, job, ["trainer_crashed", "succeeded"])
    assert training_results(cluster, job) == undisturbed


@pytest.mark.full
def test_rank_that_is_killed_beside_another_is_the_cause_and_not_its_peers(cluster):
    job = submit_training(cluster, nodes=2, slots=2)
    cluster.wait_for_step(job, 10, LONG)
    _, second = nodes_of(cluster, job)
    cluster.attempt_processes("rank", second)[-1].send(SIGKILL)
    wait_for_attempt(cluster, job, 2, seconds=LONG)
    first = attempts_of(cluster, job)[0]
    assert first.reason == "trainer_crashed"
    assert first.message == f"on {second}: local rank 1 ended without a word: Killed"
    cancel(cluster.database_url, job, forced=True)
    cluster.wait_for_job(job, "cancelled", LONG)
    assert_nothing_left(cluster, job)


@pytest.mark.full
@pytest.mark.parametrize("node_rank", [0, 1])
def test_runner_that_is_killed_ends_the_attempt_on_both_nodes(
    cluster, undisturbed, job, node_rank, recoveries
):
    node = nodes_of(cluster, job)[node_rank]
    [runner] = cluster.attempt_processes("runner", node)
    runner.send(SIGKILL)
    seconds = wait_for_attempt(cluster, job, 2, seconds=LONG)
    recoveries.note(f"runner {node_rank} of a gang killed", seconds, promised_seconds=30)
    first = attempts_of(cluster, job)[0]
    assert (first.reason, first.failed_node) == ("worker_lost", node)
    ends(cluster, job, ["worker_lost", "succeeded"])
    assert training_results(cluster, job) == undisturbed


@pytest.mark.full
def test_worker_of_a_gang_that_is_killed_is_not_missed(cluster, undisturbed, job):
    _, second = nodes_of(cluster, job)
    cluster.kill(f"worker-{second}")
    cluster.start_worker(second, number=int(second[1:]))
    ends(cluster, job, ["succeeded"])
    assert training_results(cluster, job) == undisturbed


@pytest.mark.full
@pytest.mark.parametrize("node_rank", [0, 1])
def test_gang_leaves_a_node_that_is_drained_without_losing_a_step(
    cluster, undisturbed, job, node_rank
):
    node = nodes_of(cluster, job)[node_rank]
    drain(cluster.database_url, node)
    wait_for_attempt(cluster, job, 2, seconds=LONG)
    assert node not in nodes_of(cluster, job)
    ends(cluster, job, ["drained", "succeeded"])
    cluster.query("UPDATE nodes SET cordoned = false")
    stopped_at = int(attempts_of(cluster, job)[0].message.split()[-1])
    saved = cluster.query("SELECT step FROM checkpoints WHERE job_id = %s", job)
    assert (stopped_at,) in saved
    assert training_results(cluster, job) == undisturbed


@pytest.mark.full
def test_runner_of_a_gang_that_is_told_to_leave_loses_no_step_and_no_retry(
    cluster, undisturbed, job
):
    _, second = nodes_of(cluster, job)
    [runner] = cluster.attempt_processes("runner", second)
    runner.send(SIGTERM)
    ends(cluster, job, ["drained", "succeeded"])
    assert training_results(cluster, job) == undisturbed


@pytest.mark.full
def test_gang_that_is_paused_goes_on_where_it_was(cluster, undisturbed, job):
    pause(cluster.database_url, job)
    cluster.wait_for_job(job, "paused", LONG)
    assert_nothing_left(cluster, job)
    resume(cluster.database_url, job)
    ends(cluster, job, ["paused_by_user", "succeeded"])
    assert training_results(cluster, job) == undisturbed


@pytest.mark.full
@pytest.mark.parametrize("forced", [False, True])
def test_gang_that_is_cancelled_is_gone_within_seconds(cluster, job, forced, recoveries):
    cancel(cluster.database_url, job, forced=forced)
    how = "by force" if forced else "in order"
    seconds = cluster.wait_for_job(job, "cancelled", 70)
    recoveries.note(f"gang cancelled {how}", seconds, promised_seconds=5 if forced else 65)
    assert_nothing_left(cluster, job)


@pytest.mark.full
def test_node_of_a_gang_that_goes_silently_is_replaced(cluster, undisturbed, job, recoveries):
    _, second = nodes_of(cluster, job)
    cluster.kill(f"worker-{second}")
    for kind in ("runner", "torchrun", "rank"):
        for process in cluster.attempt_processes(kind, second):
            process.send(SIGKILL)
    seconds = wait_for_attempt(cluster, job, 2, seconds=LONG)
    recoveries.note("node of a gang gone", seconds, promised_seconds=75)
    assert second not in nodes_of(cluster, job)
    first = attempts_of(cluster, job)[0]
    assert (first.reason, first.failed_node) == ("node_lost", second)
    cluster.start_worker(second, number=int(second[1:]))
    ends(cluster, job, ["node_lost", "succeeded"])
    assert training_results(cluster, job) == undisturbed


@pytest.fixture
def next_port(cluster):
    """The port at which the next gang is to meet."""
    [(fence,)] = cluster.query("SELECT max(fence) FROM attempts")
    ports = SchedulerSettings().ports
    return ports[(fence + 1) % len(ports)]


@pytest.mark.full
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.9"])
def test_gang_whose_port_is_taken_meets_at_another_one(cluster, next_port, address):
    with socket.socket() as taken:
        taken.bind((address, next_port))
        taken.listen()
        job_id = submit_training(cluster, nodes=2, slots=1)
        ends(cluster, job_id, ["port_in_use", "succeeded"])
    first = attempts_of(cluster, job_id)[0]
    assert f"port {next_port} of" in first.message


@pytest.mark.full
def test_gang_does_without_a_node_that_twice_did_not_get_ready(cluster):
    cluster.kill("scheduler")
    cluster.start_scheduler(NVAE_SCHEDULER_READY_TIMEOUT_SECONDS="5")
    cluster.start_worker("n4", number=4, NVAE_S3_ENDPOINT_URL="http://127.0.0.9:9")
    names = "SELECT name FROM nodes WHERE name = 'n4'"
    cluster.wait_until(lambda: cluster.query(names) != [])
    cluster.query("UPDATE nodes SET cordoned = name IN ('n2', 'n3')")
    job_id = submit_training(cluster, nodes=2, slots=1)
    cluster.wait_until(lambda: len(attempts_of(cluster, job_id)) > 1, LONG, job_id)
    cluster.query("UPDATE nodes SET cordoned = false")
    cluster.wait_for_job(job_id, "succeeded", LONG)
    *failed, _ = attempts_of(cluster, job_id)
    assert {attempt.reason for attempt in failed} == {"node_not_ready"}
    assert {attempt.failed_node for attempt in failed} == {"n4"}
    assert len(failed) <= 2
    assert "n4" not in nodes_of(cluster, job_id)
    assert_nothing_left(cluster, job_id)
    cluster.kill("worker-n4")


@pytest.mark.full
def test_three_nodes_train_together(cluster):
    job_id = submit_training(cluster, nodes=3, slots=1, batch_size=50)
    ends(cluster, job_id, ["succeeded"])
    assert sorted(nodes_of(cluster, job_id)) == ["n1", "n2", "n3"]
