"""The chart as Helm renders it, with the sets of values that the tests look at."""

from functools import cache
from pathlib import Path

import helm_python
import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy" / "kubernetes" / "nvae"

SECRET = {
    "databaseUrl": "postgresql+psycopg://nvae:secret@postgres:5432/nvae",
    "brokerUrl": "redis://:secret@valkey:6379/0",
    "s3AccessKey": "access",
    "s3SecretKey": "secret",
    "bootstrapKey": "k" * 48,
}
KUBERNETES_VERSIONS = ("1.30", "1.37")  # the oldest that Chart.yaml allows, the newest known
NOT_KUBERNETES_OWN = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}
EXISTING = {"stores": {"existingSecret": "nvae-secrets", "s3": {"bucket": "nvae"}}}
GIVEN = {
    "NVAE_DATABASE_URL": "postgresql+psycopg://nvae:secret@postgres:5432/nvae",
    "NVAE_API_BOOTSTRAP_KEY": "k" * 48,
    "metadata.name": "run-nvae-worker-gpu-0",
    "status.podIP": "10.1.2.3",
}

FULL = {
    "images": {
        "api": {"repository": "registry.example/nvae-api", "tag": "1.2.3"},
        "pullSecrets": ["registry"],
    },
    "stores": {
        "existingSecret": "nvae-secrets",
        "s3": {
            "bucket": "nvae",
            "endpointUrl": "http://s3.storage:8333",
            "publicEndpointUrl": "https://s3.example.org",
            "downloads": "proxy",
            "sourcesPrefixes": ["s3://images/"],
        },
    },
    "api": {
        "autoscaling": {"enabled": False},
        "nodeSelector": {"pool": "services"},
        "tolerations": [{"key": "services", "operator": "Exists"}],
        "extraEnv": [{"name": "FORWARDED_ALLOW_IPS", "value": "*"}],
        "podAnnotations": {"example.org/team": "vision"},
    },
    "scheduler": {"nodeSelector": {"pool": "services"}},
    "worker": {
        "stopGraceSeconds": 300,
        "pools": {
            "gpu": None,
            "h100": {
                "replicas": 4,
                "gpus": 8,
                "labels": {"gpu": "h100"},
                "resources": {"requests": {"cpu": "32"}, "limits": {"memory": "512Gi"}},
                "disk": {"kind": "ephemeral", "size": "2Ti"},
                "datasets": {"claim": "images", "subPath": "published"},
                "hostNetwork": True,
                "updateStrategy": {"type": "OnDelete"},
                "runtimeClassName": "nvidia",
                "extraEnv": [{"name": "NCCL_DEBUG", "value": "WARN"}],
                "nodeSelector": {"gpu": "h100"},
                "cacheBytes": 10**12,
            },
            "cpu": {"slots": 4, "tolerations": [], "disk": {"kind": "claim", "size": "50Gi"}},
        },
    },
    "ingress": {"enabled": True, "host": "nvae.example.org", "tlsSecret": "nvae-tls"},
    "gateway": {
        "enabled": True,
        "host": "nvae.example.org",
        "parentRefs": [{"name": "public", "namespace": "gateways"}],
    },
    "networkPolicy": {
        "apiFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        "storeCidrs": ["10.0.0.0/8"],
        "storePorts": [5432, 6379, 8333],
        "extraEgress": [{"ports": [{"port": 4318, "protocol": "TCP"}]}],
    },
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "rules": {"enabled": True},
        "dashboards": {"enabled": True},
    },
}
VALUE_SETS = {
    "existing secret": EXISTING,
    "trial": {"stores": {"secret": SECRET, "s3": {"bucket": "nvae"}}},
    "full": FULL,
    "no policies": EXISTING
    | {"networkPolicy": {"enabled": False}, "migration": {"bootstrapKey": False}},
}


@cache
def manifests(values_name):
    """Return every manifest of a set of values, as a list."""
    return render(VALUE_SETS[values_name])


def render(values, release="run"):
    """Return every manifest of these values, as a list."""
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        rendered = chart.render(values, name=release, namespace="vision")
    documents = (yaml.safe_load_all(text) for name, text in rendered.items() if "NOTES" not in name)
    return [manifest for some in documents for manifest in some if manifest]


def of_kind(values_name, *kinds):
    """Return the manifests of these kinds by name."""
    return {
        manifest["metadata"]["name"]: manifest
        for manifest in manifests(values_name)
        if manifest["kind"] in kinds
    }


def pods(values_name):
    """Return the pod templates by the name of what makes them."""
    found = of_kind(values_name, "Deployment", "StatefulSet", "Job")
    return {name: manifest["spec"]["template"] for name, manifest in found.items()}


def containers(pod):
    """Return all containers of a pod template."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(container):
    """Return a container's environment as its process would see it."""
    seen = {}
    for entry in container["env"]:
        source = entry.get("valueFrom", {})
        reference = source.get("secretKeyRef", {}).get("key") or source.get("fieldRef", {}).get(
            "fieldPath"
        )
        seen[entry["name"]] = GIVEN.get(reference, "given") if reference else entry["value"]
    return seen
