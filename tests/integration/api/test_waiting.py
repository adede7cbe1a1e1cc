"""Submissions that wait for the end of the job, and get the picture."""

import asyncio
import time

import pytest
from building import add_checkpoint, add_claimed_attempt, add_dataset, add_job, add_node, finish

from services.database import artifacts, attempts, jobs
from services.database.jobs import JobFilter
from services.database.session import new_id
from services.database.tables import Artifact
from services.domain.states import Reason

PNG = b"\x89PNG, or what passes for one"


@pytest.fixture
async def node_id(database):
    await add_dataset(database)
    return await add_node(database)


@pytest.fixture
async def sample(database, node_id):
    """A sample spec of a checkpoint that is there."""
    claim = await go(database, await add_job(database), node_id)
    checkpoint_id = await add_checkpoint(database, claim)
    await finish(database, claim, Reason.SUCCEEDED)
    return {"kind": "sample", "checkpoint": checkpoint_id}


async def go(database, job, node_id):
    """Return the claim of an attempt whose trainer runs."""
    claim = await add_claimed_attempt(database, job, node_id)
    async with database.transaction() as session:
        await attempts.make_ready(session, claim)
    return claim


async def end_next_sample(
    database, storage, node_id, tmp_path, *, reason=Reason.SUCCEEDED, names=("grid.png",)
):
    """End the sample job that is submitted next, with pictures of these names, each its own."""
    while True:
        async with database.transaction() as session:
            queued = await jobs.list_newest(
                session, "default", JobFilter(kind="sample", status="queued"), limit=1
            )
        if queued:
            break
        await asyncio.sleep(0.01)
    claim = await go(database, queued[0], node_id)
    for name in names:
        await add_picture(database, storage, claim, tmp_path / "picture.png", name)
    await finish(database, claim, reason)


async def add_picture(database, storage, claim, path, name):
    """Publish a picture of a claimed attempt, in which its name can be read."""
    content = PNG + name.encode()
    path.write_bytes(content)
    key = f"attempts/{claim.attempt_id}/{name}"
    await asyncio.to_thread(storage.upload, path, key)
    async with attempts.fenced_write(database, claim) as (session, attempt):
        picture = Artifact(
            id=new_id("art"),
            job_id=attempt.job_id,
            attempt_id=attempt.id,
            name=name,
            key=key,
            content_type="image/png",
            size_bytes=len(content),
            sha256="0" * 64,
        )
        await artifacts.add(session, attempt, picture)


async def submit(api, spec, *, wait=20, accept="image/png"):
    return await api.post(
        "/v1/jobs", json=spec, headers={"Prefer": f"wait={wait}", "Accept": accept}
    )


async def test_picture_is_the_answer_to_who_waits_for_it(
    api, database, storage, node_id, sample, tmp_path
):
    ending = asyncio.create_task(end_next_sample(database, storage, node_id, tmp_path))
    response = await submit(api, sample)
    await ending
    assert response.status_code == 201
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["Preference-Applied"] == "wait=20"
    assert response.content == PNG + b"grid.png"
    job = (await api.get(response.headers["Location"])).json()
    assert job["status"] == "succeeded"


async def test_job_is_the_answer_where_no_picture_is_asked_for_or_there_is_none(
    api, database, storage, node_id, sample, tmp_path
):
    for accept, reason in (("*/*", Reason.SUCCEEDED), ("image/png", Reason.INVALID_CONFIG)):
        ending = asyncio.create_task(
            end_next_sample(database, storage, node_id, tmp_path, reason=reason)
        )
        response = await submit(api, sample, accept=accept)
        await ending
        assert response.status_code == 201
        assert response.json()["status"] == (
            "succeeded" if reason == Reason.SUCCEEDED else "failed"
        )


@pytest.mark.parametrize(
    ("names", "content_type"),
    [
        (("grid.png", "images/0000.png", "images/0001.png"), "image/png"),
        (("images/0000.png",), "application/json"),
        (("grid_temperature_0.7.png", "grid_temperature_1.png"), "application/json"),
    ],
)
async def test_picture_is_the_grid_whatever_else_there_is(
    api, database, storage, node_id, sample, tmp_path, names, content_type
):
    ending = asyncio.create_task(end_next_sample(database, storage, node_id, tmp_path, names=names))
    response = await submit(api, sample)
    await ending
    assert response.status_code == 201
    assert response.headers["Content-Type"] == content_type
    if content_type == "image/png":
        assert response.content == PNG + b"grid.png"


async def test_wait_that_runs_out_answers_with_the_job_which_goes_on(api, sample):
    began_at = time.monotonic()
    response = await submit(api, sample, wait=1)
    assert 1 <= time.monotonic() - began_at < 5
    assert response.status_code == 202
    assert response.json()["status"] == "queued"
    assert response.headers["Location"].endswith(response.json()["id"])


async def test_many_who_wait_hold_no_connection_and_all_hear_of_the_end(
    api, database, storage, node_id, sample, tmp_path
):
    waiting = [asyncio.create_task(submit(api, sample, wait=2)) for _ in range(60)]
    response = await api.get("/v1/jobs")
    assert response.status_code == 200
    answers = await asyncio.gather(*waiting)
    assert {answer.status_code for answer in answers} == {202}
