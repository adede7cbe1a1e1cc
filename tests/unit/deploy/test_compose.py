"""The compose files keep to what docs/deploy.md says of them; no engine is needed."""

import re

import pytest
import yaml
from compose_files import CONTROL_PLANE, MAIN, NODE, ROOT, read

from services.settings import WorkerSettings

ONCE = {"migrate", "backup"}
BECOMES_ANOTHER_USER_ITSELF = {"seaweedfs"}
OF_OUR_IMAGES = {"migrate", "api", "scheduler", "worker", "worker-gpu", "prometheus"}

EVERY_SERVICE = [
    pytest.param(name, service, id=f"{file.stem}-{name}")
    for file in (MAIN, NODE)
    for name, service in read(file)["services"].items()
]

OURS = [param.values for param in EVERY_SERVICE if param.values[1]["image"].startswith("nvae-")]


@pytest.mark.parametrize(("name", "service"), EVERY_SERVICE)
def test_service_is_locked_down(name, service):
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert not any("docker.sock" in volume["source"] for volume in service.get("volumes", []))
    if name not in OF_OUR_IMAGES:  # ours, and that of Prometheus, name their user themselves
        is_root = service.get("user", "0").startswith("0")
        assert is_root == (name in BECOMES_ANOTHER_USER_ITSELF)


@pytest.mark.parametrize(("name", "service"), EVERY_SERVICE)
def test_service_has_limits_a_check_and_logs_that_end(name, service):
    limits = service["deploy"]["resources"]["limits"]
    assert int(limits["memory"]) > 0
    assert limits["pids"] > 0
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
    check = service["healthcheck"]
    assert check.get("disable", False) == (name in ONCE)
    assert name in ONCE or (check["test"] and check["interval"] and check["timeout"])


@pytest.mark.parametrize(("name", "service"), EVERY_SERVICE)
def test_image_has_a_version_and_is_not_the_newest_one(name, service):
    tag = service["image"].rpartition(":")[2]
    assert re.search(r"\d+\.\d+", tag)


def test_only_the_api_and_s3_are_published_and_on_this_machine_only():
    published = [
        (name, port["target"], port["host_ip"])
        for name, service in read(MAIN)["services"].items()
        for port in service.get("ports", [])
    ]
    assert published == [("api", 8000, "127.0.0.1"), ("s3", 8333, "127.0.0.1")]


def test_stores_are_in_networks_without_a_way_out():
    config = read(MAIN)
    inside = {name for name, network in config["networks"].items() if network.get("internal")}
    outside = {"api", "s3"}
    for name, service in config["services"].items():
        assert (set(service["networks"]) <= inside) == (name not in outside), name
    of_seaweedfs = {n for n, s in config["services"].items() if "seaweedfs" in s["networks"]}
    assert of_seaweedfs == {"seaweedfs", "s3"}


def test_nodes_of_other_machines_reach_the_three_stores_by_a_private_address():
    services = read(MAIN, CONTROL_PLANE)["services"]
    for name, port in (("postgres", 5432), ("valkey", 6379)):
        [published] = services[name]["ports"]
        assert (published["target"], published["host_ip"]) == (port, "192.0.2.1")
        assert set(services[name]["networks"]) == {"stores", "published"}


def test_every_variable_that_is_set_for_our_services_is_a_setting(setting_fields):
    used = {name for _, service in OURS for name in service["environment"]}
    for path in (ROOT / "deploy" / "images").glob("*.Dockerfile"):
        used |= set(re.findall(r"NVAE_[A-Z0-9_]+", path.read_text()))
    assert len(used) > 15
    assert used <= setting_fields.keys() | {"OTEL_EXPORTER_OTLP_ENDPOINT", "NVIDIA_VISIBLE_DEVICES"}


def test_every_service_gets_what_leads_to_the_stores():
    needed = {"NVAE_DATABASE_URL", "NVAE_BROKER_URL", "NVAE_S3_BUCKET", "NVAE_S3_SECRET_KEY"}
    assert len(OURS) == 7
    for name, service in OURS:
        assert needed <= service["environment"].keys(), name


@pytest.mark.parametrize("file", [MAIN, NODE], ids=["main", "node"])
def test_worker_has_time_for_its_checkpoint_when_it_is_stopped(file):
    for name in ("worker", "worker-gpu"):
        service = read(file)["services"][name]
        grace = float(service["environment"]["NVAE_WORKER_STOP_GRACE_SECONDS"])
        assert grace == WorkerSettings.model_fields["stop_grace_seconds"].default
        minutes, seconds = re.fullmatch(r"(?:(\d+)m)?(\d+)s", service["stop_grace_period"]).groups()
        assert 60 * int(minutes or 0) + int(seconds) >= 2 * grace


@pytest.mark.parametrize("file", [MAIN, NODE], ids=["main", "node"])
def test_gpu_worker_gets_every_gpu_and_the_other_one_none(file):
    services = read(file)["services"]
    [gpus] = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (gpus["driver"], gpus["count"], gpus["capabilities"]) == ("nvidia", -1, ["gpu"])
    assert "reservations" not in services["worker"]["deploy"]["resources"]


def test_no_password_is_in_a_file_or_has_a_default():
    for path in (MAIN, NODE, CONTROL_PLANE):
        document = yaml.safe_load(path.read_text())
        values = re.findall(
            r"'?\w*(?:PASSWORD|SECRET_KEY|JWT\w*_KEY|BOOTSTRAP_KEY)'?: '?(\S+)", str(document)
        )
        assert all(value.startswith("${") and ":?" in value for value in values), path
