"""What the service does when it has come up from nothing."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from commands import tell
from images import VERSION
from installation import wait_until

# httpx lets go of connections whose server has gone without closing them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
TRAIN = {"kind": "train", "preset": "mnist-test", "dataset": "mnist"}


def test_demo_path(up, client, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "services.local.demo"],
        env=os.environ
        | {
            "NVAE_API_URL": f"http://127.0.0.1:{up.api_port}",
            "NVAE_API_KEY": up.passwords["NVAE_API_BOOTSTRAP_KEY"],
            "NVAE_DEMO_PRESET": "mnist-test",
            "NVAE_DEMO_OUTPUT": str(tmp_path / "output"),
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    summary = json.loads(ended.stdout.splitlines()[-1])
    tell(f"  {summary}")
    assert 0 < summary["negative_elbo"] < 543  # 784 ln 2, what a coin reaches
    assert len(summary["grids"]) == 3
    assert (tmp_path / "output" / "checkpoint" / "model.safetensors").exists()


def test_node_reports_the_version_that_its_image_was_built_as(client):
    [node] = client.nodes.list()
    assert (node.name, node.version, node.num_slots) == ("node-1", VERSION, 2)


def test_only_the_api_and_s3_are_published(up):
    published = {
        (state["Service"], port["TargetPort"])
        for state in up.states()
        for port in state["Publishers"]
        if port["PublishedPort"]
    }
    assert published == {("api", 8000), ("s3", 8333)}


def test_stores_are_reached_with_passwords_only(up):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{up.s3_port}/artifacts/")
    assert refused.value.code == 403
    assert up.fails_inside(
        "postgres", "psql", "--host=127.0.0.1", "--username=nvae", "--no-password", "-c", ""
    )
    ping = "printf 'PING\\r\\n' >&3; head -c 7 <&3"
    answer = up.inside("worker", "bash", "-c", f"exec 3<>/dev/tcp/valkey/6379; {ping}")
    assert answer == "-NOAUTH"
    assert up.fails_inside("worker", "bash", "-c", "exec 3<>/dev/tcp/seaweedfs/8888")
    read = "import urllib.request; urllib.request.urlopen('http://{{}}').read()"
    assert up.fails_inside("worker", "python", "-c", read.format("example.com"))


def test_no_process_is_root_and_no_root_file_system_can_be_written(up):
    for service, container in up.containers().items():
        processes = up.engine.docker("top", container, "-eo", "pid,uid", show=False).splitlines()
        assert not any(line.split()[1] == "0" for line in processes), service
        assert up.fails_inside(service, "touch", "/written"), service


def test_training_on_two_nodes_that_are_two_containers(up, client):
    up.up("--no-recreate", "--scale", "worker=2")
    wait_until(lambda: sum(node.alive for node in client.nodes.list()) == 2)
    assert {node.name for node in client.nodes.list()} == {"node-1", "node-2"}
    spec = TRAIN | {"resources": {"nodes": 2, "slots": 1}, "name": "gang"}
    job = client.jobs.submit(spec).wait(timeout_seconds=120)
    [attempt] = job.attempts()
    assert len(set(attempt.node_ids)) == 2


def test_node_keeps_its_name_when_its_container_is_replaced(up, client):
    up.up("--force-recreate", "--no-deps", "--scale", "worker=2", "worker")
    wait_until(lambda: sum(node.alive for node in client.nodes.list()) == 2)
    assert {node.name for node in client.nodes.list()} == {"node-1", "node-2"}
    up.up("--no-recreate", "--scale", "worker=1")
