"""Alert rules and dashboards speak of what `/metrics` shows, and lead somewhere."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from services.api.prometheus import COUNTERS, GAUGES, Metrics
from services.domain.states import JobStatus, Reason

MONITORING = Path(__file__).parents[3] / "deploy" / "monitoring"
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
RULES = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
# The headings of docs/runbook.md, as anchors.
RUNBOOK = {
    *("queue-stuck", "leases-expire", "no-scheduler"),
    *("checkpoint-too-old", "disk-full", "error-rate"),
}
OF_PROMETHEUS = {"up": {"job", "instance"}}
OF_THE_TARGET = {"job", "instance"}
KNOWN_VALUES = {
    "status": {*JobStatus, "running", "5.."},
    "reason": set(Reason),
    "state": {"free", "taken", "lost", "cordoned"},
}
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


@pytest.fixture(scope="module")
def shown():
    """The labels of every series that `/metrics` can show, by name."""
    metrics = Metrics(database=None)
    metrics.answered("GET", "/v1/jobs", 200, 0.1)
    labels = {name: set(given) for name, _, given in GAUGES.values()}
    labels |= {f"{name}_total": set(given) for name, _, given in COUNTERS.values()}
    for family in metrics._registry.collect():
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def panels(dashboard):
    return json.loads(dashboard.read_text())["panels"]


def expressions():
    yield from ((rule["alert"], rule["expr"]) for rule in RULES)
    for path in DASHBOARDS:
        for panel in panels(path):
            for target in panel.get("targets", []):
                if "expr" in target:
                    yield f"{path.stem}: {panel['title']}", target["expr"]


@pytest.mark.parametrize(("where", "expression"), [*expressions()])
def test_expression_reads_metrics_and_labels_that_are_shown(where, expression, shown):
    names = set(re.findall(r"\b(nvae_\w+|up)\b", expression))
    assert names, where
    assert names <= shown.keys() | OF_PROMETHEUS.keys()
    known = shown | OF_PROMETHEUS
    for name, matchers in re.findall(r"\b(nvae_\w+|up)\{([^}]*)\}", expression):
        for label, value in MATCHER.findall(matchers):
            assert label in known[name] | OF_THE_TARGET, f"{name} has no label {label}"
            for one in value.split("|") if label in KNOWN_VALUES else []:
                assert one in KNOWN_VALUES[label], f"{label} is never {one}"
    grouped = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    labels = {label.strip() for labels in grouped for label in labels.split(",")} - {""}
    assert labels <= set().union(*(known[name] for name in names), OF_THE_TARGET)


def test_counts_that_every_process_shows_are_taken_once():
    of_postgres = "|".join(
        [
            *(name for name, *_ in GAUGES.values()),
            *(f"{name}_total" for name, *_ in COUNTERS.values()),
        ]
    )
    reads = re.compile(
        rf"(\w+)(?:\s*by\s*\([^)]*\))?\s*\(\s*(?:(?:increase|rate)\(\s*)?(?:{of_postgres})\b"
    )
    found = [(where, *reads.findall(expression)) for where, expression in expressions()]
    assert sum(len(functions) for _, *functions in found) > 20
    for where, *functions in found:
        assert set(functions) <= {"max", "min", "absent"}, where


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_rule_says_how_bad_it_is_and_what_to_do(rule):
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert page == "docs/runbook.md"
    assert anchor in RUNBOOK


def test_every_heading_of_the_runbook_has_a_rule():
    assert {rule["annotations"]["runbook_url"].partition("#")[2] for rule in RULES} == RUNBOOK


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboard_is_whole(path):
    dashboard = json.loads(path.read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    provisioned = yaml.safe_load(
        (MONITORING / "grafana/provisioning/datasources/nvae.yml").read_text()
    )["datasources"]
    known = {(source["type"], source["uid"]) for source in provisioned}
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another panel"
        assert place["x"] + place["w"] <= 24
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["targets"], panel["title"]
        for source in [panel["datasource"], *(t["datasource"] for t in panel["targets"])]:
            assert (source["type"], source["uid"]) in known


def test_dashboards_lead_to_each_other():
    uids = {json.loads(path.read_text())["uid"] for path in DASHBOARDS}
    assert len(uids) == len(DASHBOARDS) == 2
    linked = {uid for path in DASHBOARDS for uid in re.findall(r"/d/([\w-]+)", path.read_text())}
    assert linked
    assert linked <= uids


def test_curves_are_of_metrics_that_trainers_report():
    page = (MONITORING.parents[1] / "docs" / "run_directory.md").read_text()
    curves = (MONITORING / "grafana" / "dashboards" / "job.json").read_text()
    names = set(re.findall(r"name = '([^']+)'", curves))
    assert len(names) > 15
    assert names <= set(re.findall(r"`([\w/]+)`", page))


def test_scrapes_the_api_under_the_name_that_the_rules_use():
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    [scrape] = config["scrape_configs"]
    assert scrape["job_name"] == "nvae-api"
    assert scrape["dns_sd_configs"][0]["names"] == ["api"]
    assert scrape["dns_sd_configs"][0]["port"] == 8000
    assert config["rule_files"] == ["alerts.yml"]


def test_rules_fire_when_they_should(tmp_path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; Debian has it in the package prometheus")
    for file in (MONITORING / "alerts.yml", Path(__file__).with_name("alerts_test.yml")):
        shutil.copy(file, tmp_path)
    for command in (
        ["check", "config", MONITORING / "prometheus.yml"],
        ["test", "rules", tmp_path / "alerts_test.yml"],
    ):
        checked = subprocess.run([promtool, *command], check=False, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
