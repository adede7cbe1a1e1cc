"""Checkpoints over HTTP: seen, pinned, deleted, and refused when they are gone."""

import pytest
from stored_rows import change, store_attempt, store_checkpoint, store_job


@pytest.fixture
async def job(database):
    return await store_job(database)


@pytest.fixture
async def two(database, job):
    """The two checkpoints of a running job."""
    attempt = await store_attempt(database, job)
    return [await store_checkpoint(database, attempt, step) for step in (10, 20)]


def url(checkpoint, action=""):
    return f"/v1/checkpoints/{checkpoint.id}{action}"


async def test_checkpoint_says_what_it_is(api, two):
    shown = (await api.get(url(two[0]))).json()
    assert (shown["status"], shown["pinned"], shown["size_bytes"]) == ("committed", False, 10)


async def test_list_shows_those_that_can_be_used_or_those_with_a_status(api, database, job, two):
    await change(database, two[1], status="superseded")
    for query, steps in (("", [10]), ("?status=superseded", [20]), ("?status=corrupt", [])):
        listed = (await api.get(f"/v1/jobs/{job.id}/checkpoints{query}")).json()
        assert [checkpoint["step"] for checkpoint in listed] == steps
    response = await api.get(f"/v1/jobs/{job.id}/checkpoints?status=lost")
    assert response.status_code == 422


async def test_pinned_checkpoint_is_deleted_only_after_it_was_unpinned(api, two):
    for _ in range(2):
        assert (await api.post(url(two[0], "/pin"))).json()["pinned"]
    refused = await api.delete(url(two[0]))
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "pinned" in refused.json()["detail"]
    assert not (await api.post(url(two[0], "/unpin"))).json()["pinned"]
    for _ in range(2):
        deleted = await api.delete(url(two[0]))
        assert (deleted.status_code, deleted.json()["status"]) == (202, "deleting")
    assert (await api.post(url(two[0], "/pin"))).status_code == 409


async def test_checkpoint_that_is_needed_is_not_deleted(api, database, two):
    reader = await store_job(database, kind="sample", status="queued", checkpoint_id=two[0].id)
    for checkpoint, words in ((two[0], reader.id), (two[1], "resumes from")):
        refused = await api.delete(url(checkpoint))
        assert (refused.status_code, words in refused.json()["detail"]) == (409, True)


@pytest.mark.parametrize("status", ["deleting", "deleted"])
async def test_file_of_a_deleted_checkpoint_is_gone(api, database, two, status):
    file = url(two[0], "/files/ranks/rank_0.safetensors")
    assert (await api.get(file)).status_code == 307
    await change(database, two[0], status=status)
    response = await api.get(file)
    assert (response.status_code, response.json()["code"]) == (410, "gone")
    assert "was deleted" in response.json()["detail"]
    assert (await api.get(url(two[0]))).json()["status"] == status
    assert (await api.get(f"{file}x")).status_code == 404


@pytest.mark.parametrize("status", ["deleting", "deleted", "corrupt", "superseded"])
async def test_job_cannot_read_a_checkpoint_that_is_not_committed(api, database, two, status):
    await change(database, two[0], status=status)
    for reader in ({"kind": "sample"}, {"kind": "analyze", "analysis": "scale_traversal"}):
        response = await api.post("/v1/jobs", json=reader | {"checkpoint": two[0].id})
        [problem] = response.json()["errors"]
        assert (response.status_code, problem["pointer"]) == (422, "/checkpoint")
        assert two[0].id in problem["message"]


async def test_job_that_reads_a_checkpoint_keeps_it(api, two):
    response = await api.post("/v1/jobs", json={"kind": "sample", "checkpoint": two[0].id})
    assert response.status_code == 201
    assert (await api.delete(url(two[0]))).status_code == 409


@pytest.mark.parametrize(
    ("method", "action"), [("POST", "/pin"), ("POST", "/unpin"), ("DELETE", ""), ("GET", "")]
)
async def test_unknown_checkpoint_is_not_found(api, method, action):
    response = await api.request(method, f"/v1/checkpoints/ckpt_x{action}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
