"""The scheduler's spans: below the request that submitted the job, for every attempt."""

import pytest
from building import add_dataset, add_job, add_node, find_job
from sqlalchemy import text

from services.database import attempts, jobs
from services.scheduler.scheduler import Scheduler
from services.settings import LeaseSettings, SchedulerSettings
from services.telemetry import tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
async def scheduler(database, doorbell):
    await add_dataset(database)
    return Scheduler(database, doorbell, SchedulerSettings(), LeaseSettings())


async def starting_events(database, job_id):
    async with database.transaction() as session:
        events = await jobs.list_events(session, job_id, after=0)
    return [event.data for event in events if event.type in {"submitted", "starting"}]


async def test_lease_that_runs_out_and_the_next_attempt_are_in_the_trace(
    database, scheduler, traced
):
    node_id = await add_node(database)
    with tracing.span("request", parent=f"00-{TRACE}-b7ad6b7169203331-01"):
        job = await add_job(database)
    await scheduler.place()
    async with database.transaction() as session:
        await attempts.claim(session, node_id, lease_seconds=-1)
    await scheduler.expire()
    await scheduler.place()
    tracing.stop()
    request, first, expired, second = traced.of(TRACE)
    assert request.attributes["nvae.job.id"] == job.id
    assert [first.name, expired.name, second.name] == ["place job", "expire lease", "place job"]
    assert {first.parent_id, second.parent_id} == {request.span_id}
    assert [span.attributes["nvae.attempt.number"] for span in (first, second)] == [1, 2]
    assert expired.parent_id == first.span_id
    assert (expired.attributes["nvae.reason"], expired.error) == (
        "worker_lost",
        "the runner on n1 is silent",
    )
    told = [data["traceparent"] for data in await starting_events(database, job.id)]
    assert told == [f"00-{TRACE}-{span.span_id}-01" for span in (request, first, second)]


async def test_job_of_a_time_before_the_tracing_begins_a_trace_with_its_placement(
    database, scheduler, traced
):
    await add_node(database)
    tracing.stop()
    job = await add_job(database)
    assert "traceparent" not in (await starting_events(database, job.id))[0]
    tracing.start("scheduler")
    await scheduler.place()
    tracing.stop()
    assert (await find_job(database, job.id)).status == "starting"
    [placed] = traced.spans
    assert placed.parent_id == ""


async def test_events_of_jobs_that_are_not_traced_say_nothing_of_traces(database, scheduler):
    await add_node(database)
    job = await add_job(database)
    await scheduler.place()
    async with database.transaction() as session:
        found = await session.scalars(
            text("SELECT count(*) FROM events WHERE data ? 'traceparent'")
        )
    assert list(found) == [0]
    assert (await find_job(database, job.id)).status == "starting"
