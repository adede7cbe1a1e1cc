"""Pods of workers: nodes with GPUs or without, that have time to end in order."""

import json

import pytest
from rendered_chart import VALUE_SETS, containers, environment, of_kind, pods

from services.worker.trainer.process import TERM_SECONDS

every_set = pytest.mark.parametrize("values_name", VALUE_SETS)


@every_set
def test_worker_has_time_for_checkpoint_and_upload(values_name):
    for workers in of_kind(values_name, "StatefulSet").values():
        pod = workers["spec"]["template"]
        [worker] = containers(pod)
        grace = float(environment(worker)["NVAE_WORKER_STOP_GRACE_SECONDS"])
        assert pod["spec"]["terminationGracePeriodSeconds"] >= grace + TERM_SECONDS + 60


def test_worker_is_a_node_of_its_own_name_and_address():
    [workers] = of_kind("existing secret", "StatefulSet").values()
    [worker] = containers(workers["spec"]["template"])
    sources = {entry["name"]: entry.get("valueFrom") for entry in worker["env"]}
    assert sources["NVAE_WORKER_NODE_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert sources["NVAE_WORKER_ADDRESS"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    service = of_kind("existing secret", "Service")[workers["spec"]["serviceName"]]
    assert service["spec"]["clusterIP"] == "None"


def test_pool_of_gpus_asks_for_them_and_shares_memory():
    workers = of_kind("full", "StatefulSet")["run-nvae-worker-h100"]
    pod = workers["spec"]["template"]["spec"]
    [worker] = pod["containers"]
    assert worker["resources"] == {
        "requests": {"cpu": "32"},
        "limits": {"memory": "512Gi", "nvidia.com/gpu": 8},
    }
    assert environment(worker)["NVAE_WORKER_SLOTS"] == "8"
    assert json.loads(environment(worker)["NVAE_WORKER_LABELS"]) == {"gpu": "h100"}
    assert environment(worker)["NVAE_WORKER_CACHE_BYTES"] == "1000000000000"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["shared-memory"]["emptyDir"]["medium"] == "Memory"
    assert volumes["data"]["emptyDir"]["sizeLimit"] == "2Ti"
    assert volumes["datasets"]["persistentVolumeClaim"]["readOnly"] is True
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"  # of the defaults
    assert pod["nodeSelector"] == {"gpu": "h100"}


def test_pool_without_gpus_asks_for_none_and_keeps_its_disk():
    assert "run-nvae-worker-gpu" not in of_kind("full", "StatefulSet")
    workers = of_kind("full", "StatefulSet")["run-nvae-worker-cpu"]["spec"]
    [worker] = workers["template"]["spec"]["containers"]
    assert "nvidia.com/gpu" not in worker["resources"]["limits"]
    assert environment(worker)["NVAE_WORKER_SLOTS"] == "4"
    assert "tolerations" not in workers["template"]["spec"]
    [claim] = workers["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "50Gi"


def test_change_of_the_chart_alone_replaces_no_worker():
    before = pods("existing secret")["run-nvae-worker-gpu"]
    assert "0.1.0" not in json.dumps(before["metadata"])
