"""Training over nodes with networks of their own, one of which is cut off."""

import subprocess
import sys

import namespaces
import pytest
from cluster import Cluster
from cluster_jobs import prepare_digits, submit_training
from outcome import assert_nothing_left, attempts_of, nodes_of, training_results, wait_for_attempt

GRACE_SECONDS = 20  # a node that is cut off cannot know that Postgres is not simply away
LONG = 300.0  # seconds for a job on a machine that has other work

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        not namespaces.is_available(), reason="`ip netns` needs root and the package iproute2"
    ),
]


@pytest.fixture(scope="module")
def network():
    """Two namespaces on a bridge."""
    try:
        namespaces.create()
        yield
    finally:
        namespaces.remove()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, network):
    """A node in each namespace, with the real trainer and prepared digits."""
    grace = {"NVAE_LEASE_OUTAGE_GRACE_SECONDS": str(GRACE_SECONDS)}
    with Cluster(tmp_path_factory.mktemp("cluster"), **grace) as cluster:
        cluster.start_scheduler()
        _, environment = cluster.open_proxies(namespaces.BRIDGE_ADDRESS)
        for number in namespaces.NUMBERS:
            cluster.start_worker(
                f"n{number}",
                within=namespaces.within(number),
                **environment,
                NVAE_WORKER_ADDRESS=namespaces.address(number),
            )
        prepare_digits(cluster)
        yield cluster


def test_nodes_train_over_their_own_network_and_survive_that_it_is_cut(cluster, recoveries):
    undisturbed = submit_training(cluster, nodes=2, slots=1)
    cluster.wait_for_step(undisturbed, 10, LONG)
    for number in namespaces.NUMBERS:
        [rank] = cluster.attempt_processes("rank", f"n{number}")
        assert f"GLOO_SOCKET_IFNAME={namespaces.interface(number)}" in rank.where.split("\0")
    cluster.wait_for_job(undisturbed, "succeeded", LONG)
    assert cluster.job(undisturbed)["num_attempts"] == 1

    job = submit_training(cluster, nodes=2, slots=1)
    cluster.wait_for_step(job, 10, LONG)
    head, other = nodes_of(cluster, job)
    namespaces.set_link(int(other[1:]), "down")
    try:
        seconds = cluster.wait_until(lambda: attempts_of(cluster, job)[0].is_finished, LONG, job)
        recoveries.note("node of a gang cut off: found out", seconds, promised_seconds=75)
        [attempt] = attempts_of(cluster, job)
        assert (attempt.reason, attempt.failed_node) == ("node_lost", other)
        assert cluster.attempt_processes("rank", head) == []
        seconds += cluster.wait_until(lambda: not cluster.attempt_processes("rank"), LONG, job)
        recoveries.note("ranks of the node that was cut off ended", seconds, promised_seconds=75)
    finally:
        namespaces.set_link(int(other[1:]), "up")
    recoveries.note(
        "link is back", wait_for_attempt(cluster, job, 2, seconds=LONG), promised_seconds=75
    )
    cluster.wait_for_job(job, "succeeded", LONG)
    assert_nothing_left(cluster, job)
    assert training_results(cluster, job) == training_results(cluster, undisturbed)


ASK = (
    "import sys; from services.worker.trainer.rendezvous import interface_of;"
    " print(interface_of(sys.argv[1]))"
)


@pytest.mark.parametrize("address", ["10.213.7.101", "fd00:213::1", "10.213.7.1"])
def test_interface_of_an_address_is_found_also_if_it_is_not_the_first_one(network, address):
    if address != namespaces.address(1):
        namespaces.add_address(1, address)
    command = (*namespaces.within(1), sys.executable, "-c", ASK, address)
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.strip() == namespaces.interface(1)
