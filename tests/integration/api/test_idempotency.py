"""A POST with a key takes effect once."""

import asyncio

import pytest
from building import add_dataset, add_key, add_node
from sqlalchemy import text

TRAIN = {"kind": "train", "preset": "mnist-test", "dataset": "mnist"}
KEY = {"Idempotency-Key": "one"}


@pytest.fixture(autouse=True)
async def inventory(database):
    await add_dataset(database)
    await add_node(database)


async def count_jobs(api):
    return len((await api.get("/v1/jobs")).json()["jobs"])


async def test_same_request_gets_the_same_answer_and_makes_one_job(api):
    first, second = [await api.post("/v1/jobs", json=TRAIN, headers=KEY) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert first.headers["Location"] == second.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert await count_jobs(api) == 1
    await api.post("/v1/jobs", json=TRAIN, headers={"Idempotency-Key": "two"})
    assert await count_jobs(api) == 2


async def test_many_at_once_make_one_job(api):
    answers = await asyncio.gather(
        *(api.post("/v1/jobs", json=TRAIN, headers=KEY) for _ in range(8))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await count_jobs(api) == 1


async def test_another_request_with_the_key_is_refused(api):
    await api.post("/v1/jobs", json=TRAIN, headers=KEY)
    answer = await api.post("/v1/jobs", json=TRAIN | {"seed": 1}, headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    job_id = (await api.get("/v1/jobs")).json()["jobs"][0]["id"]
    answer = await api.post(f"/v1/jobs/{job_id}/pause", headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert await count_jobs(api) == 1


async def test_request_that_failed_can_be_mended_under_the_same_key(api):
    assert (await api.post("/v1/jobs", json=TRAIN | {"preset": "x"}, headers=KEY)).is_error
    assert (await api.post("/v1/jobs", json=TRAIN, headers=KEY)).status_code == 201


async def test_keys_of_projects_do_not_meet(api, connected, database):
    await add_dataset(database, project="other")
    mine = await api.post("/v1/jobs", json=TRAIN, headers=KEY)
    async with connected(await add_key(database, project="other")) as other:
        theirs = await other.post("/v1/jobs", json=TRAIN, headers=KEY)
    assert theirs.status_code == 201
    assert theirs.json()["id"] != mine.json()["id"]


async def test_key_is_forgotten_after_a_day(api, database):
    first = await api.post("/v1/jobs", json=TRAIN, headers=KEY)
    async with database.transaction() as session:
        old = "UPDATE idempotent_answers SET created_at = created_at - interval '25 hours'"
        await session.execute(text(old))
    second = await api.post("/v1/jobs", json=TRAIN, headers=KEY)
    assert second.status_code == 201
    assert first.json()["id"] != second.json()["id"]


@pytest.mark.parametrize("verb", ["pause", "cancel"])
async def test_other_operations_are_replayed_as_well(api, verb):
    job_id = (await api.post("/v1/jobs", json=TRAIN)).json()["id"]
    first, second = [await api.post(f"/v1/jobs/{job_id}/{verb}", headers=KEY) for _ in range(2)]
    assert first.content == second.content
    assert second.headers["Idempotency-Replayed"] == "true"


async def test_waiting_submission_is_replayed_with_the_job_as_it_is_now(api):
    headers = KEY | {"Prefer": "wait=1"}
    first = await api.post("/v1/jobs", json=TRAIN, headers=KEY)
    await api.post(f"/v1/jobs/{first.json()['id']}/cancel")
    second = await api.post("/v1/jobs", json=TRAIN, headers=headers)
    assert second.json()["id"] == first.json()["id"]
    assert second.json()["status"] == "cancelled"
