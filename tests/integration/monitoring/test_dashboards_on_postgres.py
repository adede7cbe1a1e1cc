"""Dashboards read real Postgres, with the role that they are given, and find what is there."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from building import add_checkpoint, add_claimed_attempt, add_dataset, add_job, add_node
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import make_url

from services.api.prometheus import Metrics
from services.database import jobs, metrics
from services.database.metrics import MetricValues
from services.database.nodes import Disk, renew
from services.domain.states import JobStatus

MONITORING = Path(__file__).parents[3] / "deploy" / "monitoring"
PASSWORD = "only-for-tests"
VALUES = {
    "loss": 100.0,
    "negative_elbo": float("nan"),
    "bits_per_dim": 3.5,
    "step_seconds/slowest_rank": 0.5,
}


def panels(name):
    path = MONITORING / "grafana" / "dashboards" / f"{name}.json"
    dashboard = json.loads(path.read_text())
    return dashboard["templating"]["list"], {p["title"]: p for p in dashboard["panels"]}


def queries(name, job_id):
    """Return the queries of a dashboard by panel, as Grafana sends them for a job."""
    found = {}
    for title, panel in panels(name)[1].items():
        for target in panel.get("targets", []):
            if "rawSql" in target:
                query = target["rawSql"].replace("${job:sqlstring}", f"'{job_id}'")
                found[title] = re.sub(
                    r"\$__timeFilter\((\w+)\)", r"\1 > now() - interval '1 hour'", query
                )
    return found


@pytest.fixture
async def job(database):
    """A training that runs, has reported twice and saved once."""
    await add_dataset(database)
    node_id = await add_node(database)
    job = await add_job(database)
    claim = await add_claimed_attempt(database, job, node_id)
    await add_checkpoint(database, claim, step=2)
    async with database.transaction() as session:
        await renew(session, node_id, lease_seconds=30, disk=Disk(1000, 400))
        stored = await jobs.find(session, job.id)
        await jobs.change_status(session, stored, JobStatus.RUNNING)
        points = [MetricValues(step, datetime.now(UTC), VALUES) for step in (1, 2)]
        await metrics.store(session, job.id, points)
    return job


@pytest.fixture
def reader(servers, database):
    """A connection as Grafana has it."""
    url = make_url(servers["NVAE_DATABASE_URL"]).set(drivername="postgresql")
    grants = (MONITORING / "reader.sql").read_text()
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as owner:
        owner.execute(grants)
        owner.execute(grants)  # without harm
        owner.execute(f"ALTER ROLE nvae_reader PASSWORD '{PASSWORD}'")
        own = url.set(username="nvae_reader", password=PASSWORD)
        with psycopg.connect(own.render_as_string(hide_password=False), autocommit=True) as reader:
            yield reader
        owner.execute("DROP OWNED BY nvae_reader")
        owner.execute("DROP ROLE nvae_reader")


async def test_every_query_of_the_job_dashboard_finds_the_job(job, reader):
    found = {}
    for title, query in queries("job", job.id).items():
        cursor = reader.execute(query)
        columns = [column.name for column in cursor.description]
        found[title] = [dict(zip(columns, row, strict=True)) for row in cursor]
    assert found["Status"] == [{"status": "running"}]
    assert found["Values that are not finite"] == [{"count": 2}]
    assert [row["training"] for row in found["Bits per dimension"]] == [3.5, 3.5]
    assert [row["step"] for row in found["Bits per dimension"]] == [1, 2]
    assert found["Negative ELBO and its terms, nats per image"] == []  # not finite: counted above
    assert found["Seconds of a step"][0]["slowest rank"] == 0.5
    assert len(found["Steps over time"]) == 2
    assert [row["step"] for row in found["Checkpoints"]] == [2]
    assert found["Checkpoints"][0]["size"] == 3
    assert found["Attempts"][0]["rank 0 on"] == "n1"
    assert found["Events"][0]["type"] == "running"


async def test_curve_of_many_values_is_thinned_and_keeps_its_spikes(job, reader, database):
    at = datetime.now(UTC)
    points = [MetricValues(step, at, {"loss": float(step % 7)}) for step in range(3, 6000)]
    points[4321] = MetricValues(points[4321].step, at, {"loss": 1e6})
    async with database.transaction() as session:
        await metrics.store(session, job.id, points)
    rows = reader.execute(queries("job", job.id)["Loss and penalties"]).fetchall()
    assert len(rows) < 200
    assert max(row[1] for row in rows) == 1e6


async def test_job_can_be_chosen(job, reader):
    [variable] = panels("job")[0]
    [(value, text)] = reader.execute(variable["query"]).fetchall()
    assert value == job.id
    assert "train, running" in text


async def test_operators_see_which_training_has_saved_nothing_for_longest(job, reader):
    [(title, query)] = queries("operators", job.id).items()
    assert title.startswith("Running trainings")
    [row] = reader.execute(query).fetchall()
    assert row[0] == job.id
    assert 0 <= row[-1] < 60


@pytest.mark.parametrize("table", ["api_keys", "idempotent_answers", "log_chunks", "datasets"])
def test_reader_does_not_see(table, reader):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(f"SELECT * FROM {table}")


def test_reader_changes_nothing(reader):
    reader.execute("SET default_transaction_read_only = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("UPDATE jobs SET priority = 100")


async def test_what_rules_and_dashboards_read_is_in_a_real_answer(job, database):
    shown = Metrics(database)
    shown.answered("GET", "/v1/jobs", 200, 0.1)
    families = text_string_to_metric_families((await shown.render()).decode())
    names = {sample.name for family in families for sample in family.samples}
    read = set(re.findall(r"\bnvae_[a-z_]+", (MONITORING / "alerts.yml").read_text()))
    for panel in panels("operators")[1].values():
        for target in panel.get("targets", []):
            read |= set(re.findall(r"\bnvae_[a-z_]+", target.get("expr", "")))
    # No job is queued here, and no scheduler has ever been at work.
    assert read - names == {"nvae_queue_oldest_seconds", "nvae_scheduler_silent_seconds"}
