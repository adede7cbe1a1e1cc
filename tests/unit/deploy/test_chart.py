"""The Helm chart: what it renders is valid, safe, and what the services expect."""

import helm_python
import kubernetes_validate
import pytest
import yaml
from rendered_chart import (
    CHART,
    EXISTING,
    KUBERNETES_VERSIONS,
    NOT_KUBERNETES_OWN,
    ROOT,
    VALUE_SETS,
    containers,
    environment,
    manifests,
    of_kind,
    pods,
    render,
)

from services.settings import (
    ApiSettings,
    BootstrapSettings,
    BrokerSettings,
    DatabaseSettings,
    LeaseSettings,
    SourceSettings,
    StorageSettings,
    WorkerSettings,
)

STORES = [BrokerSettings, DatabaseSettings, StorageSettings, LeaseSettings]
every_set = pytest.mark.parametrize("values_name", VALUE_SETS)


@every_set
@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_every_manifest_is_valid_for_kubernetes(values_name, version):
    checked = [m for m in manifests(values_name) if m["kind"] not in NOT_KUBERNETES_OWN]
    for manifest in checked:
        kubernetes_validate.validate(manifest, version, strict=True)
    assert {"Deployment", "StatefulSet", "Job", "Service"} <= {m["kind"] for m in checked}


def test_lint_finds_nothing_to_warn_of():
    report = helm_python.lint(CHART, EXISTING, strict=True)
    assert report["errors"] == []
    assert {message["error"] for message in report["messages"]} <= {"icon is recommended"}


@every_set
def test_what_is_selected_is_there(values_name):
    labels = [pod["metadata"]["labels"] for pod in pods(values_name).values()]
    selectors = [
        manifest["spec"].get("podSelector") or manifest["spec"]["selector"]
        for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment", "StatefulSet")
        for manifest in of_kind(values_name, kind).values()
    ]
    assert selectors
    for selector in selectors:
        wanted = selector.get("matchLabels", selector)
        assert any(wanted.items() <= found.items() for found in labels), wanted


@every_set
def test_names_of_one_kind_differ_and_are_short_enough(values_name):
    for found in (manifests(values_name), render(VALUE_SETS[values_name], release="r" * 53)):
        names = [(m["kind"], m["metadata"]["name"]) for m in found]
        assert len(names) == len(set(names))
        for kind, name in names:  # a StatefulSet's is in a label with a hash
            assert len(name) <= (52 if kind == "StatefulSet" else 63)


def test_packed_chart_has_rules_and_dashboards(tmp_path):
    with helm_python.Chart.load(CHART) as chart:
        archive = chart.save(tmp_path)
    with helm_python.Chart.load(archive) as packed:
        files = {file["name"] for file in packed.files}
    assert {"monitoring/alerts.yml", "monitoring/dashboards/job.json"} <= files


@every_set
def test_no_pod_has_more_rights_than_it_needs(values_name):
    for pod in pods(values_name).values():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
            assert "cpu" in container["resources"]["requests"]
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}


@every_set
def test_every_variable_is_one_that_the_services_read(values_name):
    kinds = [*STORES, ApiSettings, BootstrapSettings, SourceSettings, WorkerSettings]
    known = {
        f"{kind.model_config['env_prefix']}{name}".upper()
        for kind in kinds
        for name in kind.model_fields
    }
    used = {
        name
        for pod in pods(values_name).values()
        for container in containers(pod)
        for name in environment(container)
        if name.startswith("NVAE_")
    }
    assert used <= known
    assert {"NVAE_WORKER_ADDRESS", "NVAE_S3_BUCKET", "NVAE_API_HOST"} <= used


@every_set
def test_services_accept_the_environment_they_get(values_name, monkeypatch):
    needed = {
        "services.api": [*STORES, ApiSettings, SourceSettings],
        "services.scheduler": STORES,
        "services.storage.s3": [StorageSettings],
        "services.database.migrate": [DatabaseSettings],
        "services.api.bootstrap": [DatabaseSettings, BootstrapSettings],
        "services.worker": [*STORES, WorkerSettings],
    }
    started = set()
    for pod in pods(values_name).values():
        for container in containers(pod):
            # The worker's image knows how to start it.
            module = container["args"][-1] if "args" in container else "services.worker"
            started.add(module)
            with monkeypatch.context() as patched:
                for name, value in environment(container).items():
                    patched.setenv(name, value)
                for settings in needed[module]:
                    settings()
    with_key = values_name != "no policies"
    assert started == set(needed) - (set() if with_key else {"services.api.bootstrap"})


@every_set
def test_first_key_is_seen_by_nothing_but_the_migration(values_name):
    for name, pod in pods(values_name).items():
        for container in containers(pod):
            has_key = "NVAE_API_BOOTSTRAP_KEY" in environment(container)
            assert has_key == (container["name"] == "bootstrap"), name
    for name, secret in of_kind(values_name, "Secret").items():
        has_key = "NVAE_API_BOOTSTRAP_KEY" in secret["stringData"]
        assert has_key == name.endswith("-migration")


def test_migration_runs_before_anything_else_and_in_order():
    job = of_kind("trial", "Job")["run-nvae-migration"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    steps = [
        container["args"][-1].rpartition(".")[2]
        for container in containers(pods("trial")["run-nvae-migration"])
    ]
    assert steps == ["s3", "migrate", "bootstrap"]
    secret = of_kind("trial", "Secret")["run-nvae-stores-migration"]["metadata"]["annotations"]
    assert int(secret["helm.sh/hook-weight"]) < 0  # there before the job
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == "default"


def test_rules_and_dashboards_are_those_of_the_monitoring_folder():
    monitoring = ROOT / "deploy" / "monitoring"
    [rule] = of_kind("full", "PrometheusRule").values()
    assert rule["spec"] == yaml.safe_load((monitoring / "alerts.yml").read_text())
    [shown] = of_kind("full", "ConfigMap").values()
    files = {path.name: path.read_text() for path in monitoring.glob("grafana/dashboards/*.json")}
    assert shown["data"] == files
    assert files
