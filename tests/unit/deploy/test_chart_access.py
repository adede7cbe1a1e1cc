"""Who reaches what: probes, ingress and network policies."""

import json

from rendered_chart import containers, of_kind, pods

from services.api.app import make_app


def test_probes_and_ingress_lead_to_what_the_api_has():
    surface = make_app()
    paths = {*surface.openapi()["paths"], surface.docs_url, surface.openapi_url}
    api = containers(pods("full")["run-nvae-api"])[0]
    assert api["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert api["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {"/healthz", "/readyz", "/metrics"} <= paths
    [ingress] = of_kind("full", "Ingress").values()
    shown = {entry["path"] for entry in ingress["spec"]["rules"][0]["http"]["paths"]}
    assert all(any(path.startswith(prefix) for path in paths) for prefix in shown)
    assert not any("/metrics".startswith(prefix) for prefix in shown)


def test_route_shows_what_the_ingress_does():
    [route] = of_kind("full", "HTTPRoute").values()
    [ingress] = of_kind("full", "Ingress").values()
    [rule] = route["spec"]["rules"]
    assert [match["path"]["value"] for match in rule["matches"]] == [
        entry["path"] for entry in ingress["spec"]["rules"][0]["http"]["paths"]
    ]
    [backend] = rule["backendRefs"]
    service = of_kind("full", "Service")[backend["name"]]
    assert backend["port"] == service["spec"]["ports"][0]["port"]


def test_stream_is_neither_buffered_nor_cut():
    [ingress] = of_kind("full", "Ingress").values()
    annotations = ingress["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
    assert int(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"]) > 3600


def test_policies_let_workers_meet_and_nobody_else_in():
    policies = of_kind("full", "NetworkPolicy")
    worker = policies["run-nvae-worker"]["spec"]
    [allowed] = worker["ingress"]
    assert allowed == {"from": [{"podSelector": worker["podSelector"]}]}
    assert {"to": [{"podSelector": worker["podSelector"]}]} in worker["egress"]
    assert "ingress" not in policies["run-nvae-scheduler"]["spec"]
    [entrance] = policies["run-nvae-api"]["spec"]["ingress"]
    assert entrance["ports"] == [{"port": "http", "protocol": "TCP"}]
    assert entrance["from"][0]["namespaceSelector"]["matchLabels"] == {"name": "ingress"}
    for policy in policies.values():
        stores = [rule for rule in policy["spec"]["egress"] if "ipBlock" in json.dumps(rule)]
        assert [port["port"] for port in stores[0]["ports"]] == [5432, 6379, 8333]
    assert not of_kind("no policies", "NetworkPolicy")
