"""Values: what is wrong is named, and what the pages show is taken."""

import re

import helm_python
import kubernetes_validate
import pytest
import yaml
from rendered_chart import CHART, EXISTING, KUBERNETES_VERSIONS, NOT_KUBERNETES_OWN, ROOT


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"api": {"replicas": "two"}}, "/api/replicas"),
        ({"api": {"replica": 2}}, "replica"),
        ({"stores": {"s3": {"bucket": ""}}}, "/stores/s3/bucket"),
        ({"stores": {"s3": {"endpointUrl": "s3.example.org"}}}, "/stores/s3/endpointUrl"),
        ({"stores": {"existingSecret": ""}}, "stores.existingSecret"),
        ({"worker": {"pools": {"gpu": {"gpu": 8}}}}, "/worker/pools/gpu"),
        ({"worker": {"pools": {"cpu": {}}}}, "worker.pools.cpu.slots"),
        ({"worker": {"poolDefaults": {"disk": {"kind": "nfs", "size": "1Gi"}}}}, "disk/kind"),
        (
            {"worker": {"poolDefaults": {"disk": {"kind": "ephemeral", "size": "1Ti"}}}},
            "worker.pools.gpu.cacheBytes",
        ),
        ({"worker": {"uploadGraceSeconds": 5}}, "/worker/uploadGraceSeconds"),
        ({"lease": {"seconds": 0}}, "/lease/seconds"),
        ({"ingress": {"enabled": True}}, "ingress.host"),
        ({"gateway": {"enabled": True}}, "gateway.parentRefs"),
        ({"networkPolicy": {"storePorts": ["postgres"]}}, "/networkPolicy/storePorts/0"),
    ],
)
def test_value_that_is_wrong_is_named(values, named):
    with helm_python.Chart.load(CHART) as chart:
        values = _merged(EXISTING, values)
        with pytest.raises(helm_python.HelmError) as refused:
            chart.validate_schema(values)
            chart.render(values, name="run")
    assert named in str(refused.value)


EXAMPLES = [
    (page, block)
    for page in ("kubernetes", "monitoring")
    for block in re.findall(r"```yaml\n(.*?)```", (ROOT / f"docs/{page}.md").read_text(), re.DOTALL)
]


@pytest.mark.parametrize(("page", "block"), EXAMPLES)
def test_values_on_the_pages_are_taken(page, block):
    with helm_python.Chart.load(CHART) as chart:
        values = _merged(EXISTING, yaml.safe_load(block))
        chart.validate_schema(values)
        rendered = chart.render(values, name="nvae")
    documents = [m for text in rendered.values() for m in _manifests_in(text)]
    for manifest in documents:
        if manifest["kind"] not in NOT_KUBERNETES_OWN:
            kubernetes_validate.validate(manifest, KUBERNETES_VERSIONS[-1], strict=True)
    assert len(documents) > 10


def _manifests_in(text):
    is_yaml = "apiVersion:" in text
    return [manifest for manifest in yaml.safe_load_all(text) if manifest] if is_yaml else []


def _merged(base, change):
    merged = dict(base)
    for name, value in change.items():
        both = isinstance(value, dict) and isinstance(base.get(name), dict)
        merged[name] = _merged(base[name], value) if both else value
    return merged
