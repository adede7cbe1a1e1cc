"""Metrics of a job over HTTP: all points of a short series, the extremes of a long one."""

import math
from datetime import UTC, datetime

import pytest
from building import add_claimed_attempt, add_dataset, add_job, add_node

from services.database import attempts, metrics
from services.database.metrics import MetricValues

NUM_STEPS = 3000
NOT_FINITE = {700: math.nan, 701: math.inf, 702: -math.inf, 703: math.nan}


async def report(database, claim, values):
    """Store one metric's values by step, and another's of the last step."""
    at = datetime.now(UTC)
    lines = [MetricValues(step, at, {"loss": value}) for step, value in values.items()]
    lines.append(MetricValues(max(values), at, {"kl": 1.0}))
    async with database.transaction() as session:
        live = await attempts.fenced(session, claim)
        await metrics.add_metrics(session, live, lines)


@pytest.fixture
async def claimed(database):
    await add_dataset(database)
    node_id = await add_node(database)
    job = await add_job(database)
    return job.id, await add_claimed_attempt(database, job, node_id)


@pytest.fixture
async def chart(api, database, claimed):
    """Return a function that stores values of `loss` and asks for its chart."""
    job_id, claim = claimed

    async def ask(values, **parameters):
        await report(database, claim, values)
        response = await api.get(
            f"/v1/jobs/{job_id}/metrics", params={"names": "loss"} | parameters
        )
        assert response.status_code == 200
        answer = response.json()
        if not answer:
            return {}
        assert list(answer) == ["loss"]
        return dict(zip(answer["loss"]["steps"], answer["loss"]["values"], strict=True))

    return ask


def smooth(num_steps=NUM_STEPS):
    return {step: 5.0 - step / num_steps for step in range(num_steps)}


@pytest.mark.parametrize("max_points", [10, 50, 500, 1000])
@pytest.mark.parametrize("step", [1, 127, 128, 1500, NUM_STEPS - 2])
async def test_spike_is_never_hidden(chart, max_points, step):
    values = smooth() | {step: 99.0, step // 2: -99.0}
    points = await chart(values, max_points=max_points)
    assert points.items() <= values.items()
    assert {99.0, -99.0} <= set(points.values())
    assert {0, NUM_STEPS - 1} <= points.keys()
    assert max_points / 4 <= len(points) <= max_points


@pytest.mark.parametrize("max_points", [10, 100, 1000])
async def test_what_is_not_finite_stays_and_hides_no_spike(chart, max_points):
    points = await chart(smooth() | NOT_FINITE | {699: 99.0}, max_points=max_points)
    assert {"NaN", "Infinity", "-Infinity", 99.0} <= set(points.values())
    assert points[700] == "NaN"
    assert len(points) <= max_points


async def test_series_of_nothing_but_nan_is_shown(chart):
    points = await chart(dict.fromkeys(range(NUM_STEPS), math.nan), max_points=50)
    assert set(points.values()) == {"NaN"}
    assert {0, NUM_STEPS - 1} <= points.keys()


async def test_spike_that_was_overwritten_is_gone(database, claimed, chart):
    await report(database, claimed[1], smooth() | {1000: 99.0})
    points = await chart({1000: 4.0}, max_points=100)
    assert max(points.values()) == 5.0
    assert len(points) > 25


async def test_short_series_is_returned_whole(chart):
    assert await chart(smooth(1000)) == smooth(1000)


async def test_series_with_gaps_keeps_its_ends(chart):
    values = {7: 1.0, 1_000_000: 2.0, 2**40: 3.0, 2**63 - 1: 4.0}
    assert await chart(values) == values
    many = {step * 10**9: float(step) for step in range(100)}
    points = await chart(many | values, max_points=20)
    assert {0, 2**63 - 1} <= points.keys()


@pytest.mark.parametrize(
    ("first", "last"), [(0, 0), (100, 130), (128, 2559), (1, 2999), (999, 2998)]
)
async def test_both_ends_of_the_window_are_included(chart, first, last):
    values = smooth() | {first - 1: 99.0, last + 1: -99.0}
    values.pop(-1, None)
    points = await chart(values, from_step=first, to_step=last, max_points=40)
    assert (min(points), max(points)) == (first, last)
    assert not {99.0, -99.0} & set(points.values())
    assert min(last - first + 1, 10) <= len(points) <= 40


async def test_window_without_points_has_no_series(chart):
    assert await chart(smooth(10), from_step=10, to_step=20) == {}


async def test_without_names_all_metrics_come(api, database, claimed):
    job_id, claim = claimed
    await report(database, claim, {1: 8.0, 2: 7.0})
    answer = (await api.get(f"/v1/jobs/{job_id}/metrics")).json()
    assert answer == {
        "kl": {"steps": [2], "values": [1.0]},
        "loss": {"steps": [1, 2], "values": [8.0, 7.0]},
    }
    assert (await api.get(f"/v1/jobs/{job_id}/metrics?names=lost")).json() == {}


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"max_points": 9}, "max_points"),
        ({"max_points": 10_001}, "max_points"),
        ({"max_points": "many"}, "max_points"),
        ({"from_step": -1}, "from_step"),
        ({"from_step": 2**63}, "from_step"),
        ({"to_step": 2**63}, "to_step"),
        ({"from_step": 5, "to_step": 4}, "to_step"),
    ],
)
async def test_bad_parameter_is_refused_by_name(api, claimed, parameters, field):
    response = await api.get(f"/v1/jobs/{claimed[0]}/metrics", params=parameters)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "invalid_request")
    assert [error["pointer"] for error in problem["errors"]] == [f"query/{field}"]


async def test_metrics_of_no_job_are_not_found(api):
    response = await api.get("/v1/jobs/job_x/metrics", params={"max_points": 100})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
