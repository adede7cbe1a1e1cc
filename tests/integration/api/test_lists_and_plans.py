"""Filters, cursors, ETags, long waits and plans."""

import asyncio
import time
from datetime import datetime, timedelta

import pytest
from building import add_claimed_attempt, add_dataset, add_job, add_node, find_job

from nvae_core.estimate import estimate
from nvae_core.presets import find_preset
from services.database import attempts, metrics
from services.database.metrics import MetricValues

TRAIN = {"kind": "train", "preset": "mnist-test", "dataset": "mnist"}


@pytest.fixture
async def node_id(database):
    await add_dataset(database)
    return await add_node(database)


async def test_pages_have_every_job_once_newest_first(api, database, node_id):
    ids = [(await add_job(database)).id for _ in range(7)]
    seen, cursor = [], None
    while True:
        parameters = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/v1/jobs", params=parameters)).json()
        seen += [job["id"] for job in page["jobs"]]
        await add_job(database)  # what comes meanwhile moves nothing
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]


@pytest.mark.parametrize("cursor", ["x", "", "a" * 100, "YWZ0ZXIgam9i"])
async def test_cursor_that_is_none_is_refused(api, cursor):
    answer = await api.get("/v1/jobs", params={"cursor": cursor})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "query/cursor"


async def test_filters_can_be_combined(api, database, node_id):
    wanted = await add_job(database, tags={"team": "a", "run": "1"}, name="first")
    await add_job(database, tags={"team": "a"})
    await add_job(database, tags={"team": "b", "run": "1"}, preset="mnist-cpu")

    async def found(**parameters):
        answer = await api.get("/v1/jobs", params=parameters)
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["jobs"]]

    assert await found(tag=["team:a", "run:1"]) == [wanted.id]
    assert await found(name="first") == [wanted.id]
    assert len(await found(tag="team:a")) == 2
    assert len(await found(preset="mnist-cpu")) == 1
    assert await found(kind="sample") == []
    assert await found(parent=wanted.id) == []
    assert len(await found(status="queued", kind="train")) == 3
    created = datetime.fromisoformat((await api.get(f"/v1/jobs/{wanted.id}")).json()["created_at"])
    assert len(await found(created_after=created.isoformat())) == 2
    assert len(await found(created_after=(created - timedelta(days=1)).isoformat())) == 3


@pytest.mark.parametrize(
    ("parameters", "pointer"),
    [
        ({"tag": "team"}, "query/tag/0"),
        ({"limit": 0}, "query/limit"),
        ({"created_after": "2026-01-01T00:00:00"}, "query/created_after"),
        ({"status": "asleep"}, "query/status"),
        ({"colour": "red"}, "query/colour"),
        ({"name": "a\0b"}, "query/name"),
    ],
)
async def test_bad_filter_is_named(api, parameters, pointer):
    answer = await api.get("/v1/jobs", params=parameters)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_job_that_is_as_it_was_is_not_sent_again(api, database, node_id):
    job = await add_job(database)
    first = await api.get(f"/v1/jobs/{job.id}")
    known = {"If-None-Match": first.headers["ETag"]}
    again = await api.get(f"/v1/jobs/{job.id}", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    await api.patch(f"/v1/jobs/{job.id}", json={"name": "other"})
    changed = await api.get(f"/v1/jobs/{job.id}", headers=known)
    assert (changed.status_code, changed.json()["name"]) == (200, "other")


async def test_wait_answers_when_the_job_changes_and_when_the_time_has_run_out(
    api, database, node_id
):
    job = await add_job(database)
    claim = await add_claimed_attempt(database, job, node_id)
    etag = (await api.get(f"/v1/jobs/{job.id}")).headers["ETag"]
    headers = {"If-None-Match": etag, "Prefer": "wait=30"}
    waiting = asyncio.create_task(api.get(f"/v1/jobs/{job.id}", headers=headers))
    await asyncio.sleep(0.2)
    async with database.transaction() as session:
        live = await attempts.fenced(session, claim)
        point = MetricValues(7, datetime.now().astimezone(), {"loss": 1.0})
        await metrics.add_metrics(session, live, [point])
    answer = await asyncio.wait_for(waiting, 10)
    assert answer.json()["progress"]["step"] == 7
    headers = {"If-None-Match": answer.headers["ETag"], "Prefer": "wait=1"}
    began_at = time.monotonic()
    assert (await api.get(f"/v1/jobs/{job.id}", headers=headers)).status_code == 304
    assert time.monotonic() - began_at >= 1
    waited = await api.get(f"/v1/jobs/{job.id}", headers={"Prefer": "wait=1"})
    assert (waited.status_code, waited.json()["status"]) == (200, "starting")


async def test_plan_tells_what_a_training_takes_and_stores_nothing(api, database, node_id):
    spec = TRAIN | {"overrides": {"optimization.epochs": 3}, "resources": {"slots": 2}}
    answer = await api.post("/v1/jobs/plan", json=spec)
    plan = answer.json()
    assert (answer.status_code, plan["valid"], plan["problems"]) == (200, True, [])
    assert plan["num_ranks"] == 2
    assert plan["training"]["num_steps"] == 3 * (4500 // 300)
    assert plan["training"]["optimization"]["epochs"] == 3
    preset = find_preset("mnist-test")
    assert plan["training"]["model"] == preset.model.model_dump(mode="json")
    assert plan["training"]["num_parameters"] > 10_000
    assert plan["training"]["checkpoint_bytes"] > 12 * plan["training"]["num_parameters"]
    assert (await api.get("/v1/jobs")).json()["jobs"] == []


async def test_memory_of_a_plan_is_that_of_its_precision(api, database, node_id):
    memory = {}
    for precision in ("float32", "bf16", "fp16"):
        spec = TRAIN | {"compute": {"precision": precision}}
        plan = (await api.post("/v1/jobs/plan", json=spec)).json()
        memory[precision] = plan["training"]["memory_bytes_per_rank"]
    preset = find_preset("mnist-test")
    cost, batch_size = estimate(preset.model), preset.optimization.batch_size
    assert memory == {name: cost.training_bytes(batch_size, name) for name in memory}
    assert memory["bf16"] == memory["fp16"] < memory["float32"]


async def test_plan_and_submission_name_everything_that_is_wrong(api, database, node_id):
    spec = {
        "kind": "train",
        "preset": "cifar10",
        "dataset": "mnist",
        "resources": {"slots": 9},
        "compute": {"gradient_accumulation": 7},
    }
    plan = (await api.post("/v1/jobs/plan", json=spec)).json()
    wrong = ["/resources/slots", "/compute/gradient_accumulation", "/dataset"]
    assert [problem["pointer"] for problem in plan["problems"]] == wrong
    assert not plan["valid"]
    assert plan["training"]["num_parameters"] > 10**7
    submitted = await api.post("/v1/jobs", json=spec)
    assert submitted.status_code == 422
    assert [error["pointer"] for error in submitted.json()["errors"]] == wrong


async def test_data_set_is_deleted_when_nobody_uses_it(api, database, node_id):
    job = await add_job(database)
    refused = await api.delete("/v1/datasets/mnist")
    assert (refused.status_code, job.id in refused.json()["detail"]) == (409, True)
    await api.post(f"/v1/jobs/{job.id}/cancel")
    deleted = await api.delete("/v1/datasets/mnist")
    assert (deleted.status_code, deleted.json()["status"]) == (202, "deleted")
    assert (await api.get("/v1/datasets/mnist")).status_code == 404
    assert (await api.get("/v1/datasets")).json() == []
    by_id = f"/v1/datasets/{deleted.json()['id']}"
    assert (await api.get(by_id)).json()["status"] == "deleted"
    assert (await api.delete(by_id)).status_code == 202
    refused = await api.post("/v1/jobs", json=TRAIN)
    assert refused.json()["errors"][0]["pointer"] == "/dataset"
    await add_dataset(database)
    assert (await find_job(database, job.id)).dataset_id == deleted.json()["id"]
