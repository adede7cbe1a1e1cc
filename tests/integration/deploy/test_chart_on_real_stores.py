"""What the chart starts finds its stores, answers its probes and ends in time."""

import signal
import socket
import subprocess
import time

import httpx
import pytest
from chart_pods import Pods
from waiting import wait_until

KEY = "nvae_" + "b" * 40
WORKER = "run-nvae-worker-cpu"


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def pods(servers, database, free_port, tmp_path):
    values = {
        "stores": {
            "secret": {
                "databaseUrl": servers["NVAE_DATABASE_URL"],
                "brokerUrl": servers["NVAE_BROKER_URL"],
                "s3AccessKey": servers["NVAE_S3_ACCESS_KEY"],
                "s3SecretKey": servers["NVAE_S3_SECRET_KEY"],
                "bootstrapKey": KEY,
            },
            "s3": {
                "bucket": servers["NVAE_S3_BUCKET"],
                "endpointUrl": servers["NVAE_S3_ENDPOINT_URL"],
            },
        },
        "worker": {"pools": {"gpu": None, "cpu": {"slots": 2, "labels": {"kind": "cpu"}}}},
    }
    changed = {"NVAE_API_PORT": free_port, "NVAE_WORKER_DATA_FOLDER": tmp_path / "data"}
    return Pods(values, changed=changed | {"HOME": tmp_path})


def answer(client, path, *, until):
    """Ask until the answer is as wanted."""
    answers = [None]

    def wanted():
        try:
            answers.append(client.get(path))
        except httpx.TransportError:
            return None
        return answers[-1] if until(answers[-1]) else None

    return wait_until(wanted, 30, failure=lambda: answers[-1] and answers[-1].text)


def test_pods_of_the_chart_work_together(pods, free_port, tmp_path):
    migration = pods.pod("run-nvae-migration")
    for container in [*migration["initContainers"], *migration["containers"]] * 2:
        pods.run_to_end(container)  # the second time as an upgrade does

    [worker] = pods.pod(WORKER)["containers"]
    probe = [
        part.replace("/var/lib/nvae", f"{tmp_path}/data")
        for part in worker["readinessProbe"]["exec"]["command"]
    ]
    (tmp_path / "data").mkdir()
    assert subprocess.run(probe, check=False).returncode == 1  # no worker yet

    [api] = pods.pod("run-nvae-api")["containers"]
    headers = {"Authorization": f"Bearer {KEY}"}
    url = f"http://127.0.0.1:{free_port}"
    with pods.running("run-nvae-api", "run-nvae-scheduler", WORKER) as processes:
        with httpx.Client(base_url=url, headers=headers) as client:
            for name in ("startupProbe", "livenessProbe", "readinessProbe"):
                path = api[name]["httpGet"]["path"]
                answer(client, path, until=lambda found: found.status_code == 200)
            listed = answer(client, "/v1/nodes", until=lambda found: found.json())
            [node] = listed.json()
            assert (node["name"], node["address"]) == ("run-nvae-worker-cpu-0", "127.0.0.1")
            assert (node["num_slots"], node["labels"]) == (2, {"kind": "cpu"})
            led = 'nvae_scheduler_silent_seconds{role="leader"}'
            shown = answer(client, "/metrics", until=lambda found: led in found.text)
            assert 'nvae_node_disk_free_bytes{node="run-nvae-worker-cpu-0"}' in shown.text
        assert subprocess.run(probe, check=False).returncode == 0
        ending = time.monotonic()
        for name, process in processes.items():
            process.send_signal(signal.SIGTERM)
            process.wait(pods.pod(name)["terminationGracePeriodSeconds"])
        assert time.monotonic() - ending < 15
    assert subprocess.run(probe, check=False).returncode == 1
