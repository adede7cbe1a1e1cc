"""Pause, resume, fork, changes and nodes over HTTP."""

import pytest
from building import (
    add_checkpoint,
    add_claimed_attempt,
    add_dataset,
    add_node,
    find_job,
    finish,
)

from services.database import attempts
from services.domain.states import Reason

TRAIN = {"kind": "train", "preset": "mnist-test", "dataset": "mnist"}


@pytest.fixture
async def node_id(database):
    await add_dataset(database)
    return await add_node(database)


@pytest.fixture
async def submit(api, node_id):
    """Return a function that submits a training and returns it."""

    async def post(**fields):
        response = await api.post("/v1/jobs", json=TRAIN | fields)
        assert response.status_code == 201, response.text
        return response.json()

    return post


@pytest.fixture
async def trained(submit, database, node_id):
    """A job that has succeeded, its two checkpoints."""
    job = await submit(tags={"team": "vision"}, overrides={"optimization.epochs": 2})
    claim = await add_claimed_attempt(database, await find_job(database, job["id"]), node_id)
    async with database.transaction() as session:
        await attempts.make_ready(session, claim)
    checkpoints = [await add_checkpoint(database, claim, step=step) for step in (5, 10)]
    await finish(database, claim, Reason.SUCCEEDED)
    return job["id"], checkpoints


async def test_queued_job_says_its_position_and_priority_moves_it(api, submit):
    first, second = [await submit() for _ in range(2)]

    async def position(job):
        return (await api.get(f"/v1/jobs/{job['id']}")).json()["queue_position"]

    assert [await position(first), await position(second)] == [1, 2]
    changed = await api.patch(f"/v1/jobs/{second['id']}", json={"priority": 80, "name": "urgent"})
    assert (changed.json()["priority"], changed.json()["name"]) == (80, "urgent")
    assert [await position(first), await position(second)] == [2, 1]


async def test_job_is_paused_and_resumed(api, submit):
    url = f"/v1/jobs/{(await submit())['id']}"
    assert (await api.post(f"{url}/pause")).json()["status"] == "paused"
    assert (await api.get(url)).json()["queue_position"] is None
    assert (await api.post(f"{url}/resume")).json()["status"] == "queued"


async def test_fork_trains_on_from_the_newest_checkpoint_with_other_overrides(
    api, trained, database, node_id
):
    parent, checkpoints = trained
    options = {"overrides": {"optimization.learning_rate": 0.002}, "seed": 9}
    response = await api.post(f"/v1/jobs/{parent}/fork", json=options)
    forked = response.json()
    assert response.status_code == 201
    assert (forked["parent_id"], forked["checkpoint_id"]) == (parent, checkpoints[1])
    assert forked["tags"] == {"team": "vision"}
    assert forked["spec"]["overrides"] == {
        "optimization.epochs": 2,
        "optimization.learning_rate": 0.002,
    }
    stored = await find_job(database, forked["id"])
    assert stored.resolved["optimization"]["learning_rate"] == 0.002


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"overrides": {"model.num_encoder_channels": 4}}, "/overrides/model.num_encoder_channels"),
        ({"checkpoint": "ckpt_none"}, "/checkpoint"),
        ({"dataset": "none"}, "/dataset"),
        ({"epochs": 3}, "/epochs"),
    ],
)
async def test_bad_fork_is_refused_by_field(api, trained, options, pointer):
    response = await api.post(f"/v1/jobs/{trained[0]}/fork", json=options)
    assert response.status_code == 422, response.text
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


async def test_job_without_a_checkpoint_cannot_be_forked(api, submit):
    response = await api.post(f"/v1/jobs/{(await submit())['id']}/fork", json={})
    assert (response.status_code, response.json()["code"]) == (409, "conflict")


async def test_job_that_was_cancelled_says_so_and_how_to_go_on(api, submit):
    url = f"/v1/jobs/{(await submit())['id']}"
    await api.post(f"{url}/cancel")
    refused = await api.post(f"{url}/resume")
    assert refused.status_code == 409
    assert "has already been cancelled; fork it" in refused.json()["detail"]


async def test_priority_of_a_job_that_has_ended_cannot_be_changed(api, trained):
    url = f"/v1/jobs/{trained[0]}"
    assert (await api.patch(url, json={"priority": 1})).status_code == 409
    assert (await api.patch(url, json={"tags": {"kept": "yes"}})).json()["tags"] == {"kept": "yes"}
    assert (await api.patch(url, json={"status": "queued"})).status_code == 422


async def test_forced_cancel_reaches_the_runner_as_such(api, submit, database, node_id):
    job = await submit()
    claim = await add_claimed_attempt(database, await find_job(database, job["id"]), node_id)
    response = await api.post(f"/v1/jobs/{job['id']}/cancel", json={"force": True})
    assert response.json()["status"] == "stopping"
    async with database.transaction() as session:
        assert (await attempts.look(session, claim)).forced


async def test_drained_node_gets_nothing_and_lets_its_job_go(api, submit, database, node_id):
    job = await submit()
    claim = await add_claimed_attempt(database, await find_job(database, job["id"]), node_id)
    drained = (await api.post(f"/v1/nodes/{node_id}/drain")).json()
    assert drained["cordoned"] is True
    [attempt] = (await api.get(f"/v1/jobs/{job['id']}/attempts")).json()
    assert (attempt["stop_reason"], attempt["node_ids"]) == ("drained", [node_id])
    await finish(database, claim, Reason.DRAINED)
    assert (await api.get(f"/v1/jobs/{job['id']}")).json()["status"] == "queued"
    assert (await api.post(f"/v1/nodes/{node_id}/uncordon")).json()["cordoned"] is False
    assert (await api.post("/v1/nodes/none/drain")).status_code == 404
