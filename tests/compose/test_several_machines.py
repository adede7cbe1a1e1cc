"""Nodes of other machines join by deploy/compose/worker.yml; here the other machine is this one."""

import socket
from dataclasses import replace

import pytest
from installation import wait_until

from services.local.state import free_ports

TRAIN = {"kind": "train", "preset": "mnist-test", "dataset": "mnist"}
# httpx lets go of connections whose server has gone without closing them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return probe.getsockname()[0]


@pytest.fixture
def nodes(up):
    """Two nodes in this machine's own network, and a control plane that lets them in."""
    postgres_port, valkey_port = free_ports(2)
    address = own_address()
    ports = {"POSTGRES_PORT": str(postgres_port), "VALKEY_PORT": str(valkey_port)}
    opened = {"PRIVATE_ADDRESS": address, "PUBLISH_ADDRESS": "0.0.0.0"}
    places = {
        "CONTROL_PLANE": address,
        "NODE_ADDRESS": address,
        "NODE_NAME": "other",
        "WORKER_SLOTS": "2",  # a thread for each rank
        "WORKER_LABELS": '{"machine": "other"}',
    }
    files = (*up.files, "deploy/compose/control_plane.yml")
    replace(up, files=files, extra=ports | opened).up()
    worker = "deploy/compose/worker.yml"
    joined = replace(up, project="nvae-test-node", files=(worker,), extra=ports | places)
    joined.up("--scale", "worker=2")
    yield joined
    joined.compose("down", "--volumes")
    up.up()


def test_nodes_of_another_machine_train_together(nodes, client):
    if "mnist" not in {dataset.name for dataset in client.datasets.list()}:
        client.datasets.register("mnist", {"kind": "bundled", "name": "mnist_5k"}).job.wait(
            timeout_seconds=120
        )

    def joined():
        return {node.name: node.id for node in client.nodes.list() if node.name.startswith("other")}

    wait_until(lambda: len(joined()) == 2)
    assert set(joined()) == {"other-1", "other-2"}
    resources = {"nodes": 2, "slots": 1, "labels": {"machine": "other"}}
    job = client.jobs.submit(TRAIN | {"resources": resources, "name": "other machines"}).wait(
        timeout_seconds=120
    )
    assert set(job.attempts()[-1].node_ids) == set(joined().values())
