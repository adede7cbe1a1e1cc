"""Keys, scopes and projects: who may do what, and see what."""

import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from building import add_checkpoint, add_claimed_attempt, add_dataset, add_job, add_key, add_node
from sqlalchemy import select, text

from services.api.bootstrap import make_first_key
from services.database.tables import ApiKey
from services.domain.access import hash_key

PUBLIC = {"/healthz", "/readyz", "/metrics"}
OTHERS = {"project": "other"}


async def operations(client):
    """Return method and path of every operation, with ids that do not exist."""
    document = (await client.get("/openapi.json")).json()
    return [
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, methods in document["paths"].items()
        for method in methods
        if path not in PUBLIC
    ]


@pytest.mark.parametrize("kind", ["none", "unknown", "expired", "revoked", "not a bearer"])
async def test_every_operation_is_closed_without_a_valid_key(connected, database, kind):
    now = datetime.now(UTC)
    key = {
        "none": None,
        "unknown": "nvae_" + "x" * 43,
        "expired": await add_key(database, expires_at=now - timedelta(seconds=1)),
        "revoked": await add_key(database, revoked_at=now),
        "not a bearer": await add_key(database),
    }[kind]
    async with connected(key) as client:
        if kind == "not a bearer":
            client.headers["Authorization"] = f"Basic {key}"
        tried = await operations(client)
        assert len(tried) > 25
        for method, path in tried:
            answer = await client.request(method, path, json={})
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.json()["code"] == "unauthenticated"
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_key_that_reads_changes_nothing(connected, database):
    async with connected(await add_key(database, scopes=["read"])) as client:
        for method, path in await operations(client):
            answer = await client.request(method, path, json={})
            is_admin = path.startswith("/v1/api-keys")
            if method == "GET" and not is_admin:
                assert answer.status_code in {200, 404, 422}, (path, answer.text)
            else:
                assert answer.status_code == 403, (method, path, answer.text)
                assert answer.json()["code"] == "forbidden"


async def test_key_that_submits_does_not_manage_nodes_and_keys(connected, database):
    async with connected(await add_key(database, scopes=["submit"])) as client:
        for method, path in (
            ("POST", "/v1/nodes/n/drain"),
            ("POST", "/v1/nodes/n/cordon"),
            ("POST", "/v1/api-keys"),
            ("GET", "/v1/api-keys"),
            ("DELETE", "/v1/api-keys/k"),
        ):
            assert (await client.request(method, path, json={})).status_code == 403
        assert (await client.get("/v1/jobs")).status_code == 200


async def test_what_is_of_another_project_is_not_there(connected, api, database):
    await add_dataset(database)
    node_id = await add_node(database)
    job = await add_job(database)
    checkpoint = await add_checkpoint(database, await add_claimed_attempt(database, job, node_id))
    paths = [
        *(f"/v1/jobs/{job.id}{end}" for end in ("", "/attempts", "/events", "/logs", "/metrics")),
        *(f"/v1/jobs/{job.id}{end}" for end in ("/artifacts", "/artifacts/x", "/checkpoints")),
        *(f"/v1/checkpoints/{checkpoint}{end}" for end in ("", "/files/model.safetensors")),
        "/v1/datasets/mnist",
    ]
    posts = [
        *(f"/v1/jobs/{job.id}/{verb}" for verb in ("cancel", "pause", "resume", "fork")),
        *(f"/v1/checkpoints/{checkpoint}/{verb}" for verb in ("pin", "unpin")),
    ]
    async with connected(await add_key(database, **OTHERS)) as other:
        for path in paths:
            assert (await other.get(path)).status_code == 404, path
        for path in posts:
            assert (await other.post(path, json={})).status_code == 404, path
        assert (await other.patch(f"/v1/jobs/{job.id}", json={"name": "x"})).status_code == 404
        for path in (f"/v1/checkpoints/{checkpoint}", "/v1/datasets/mnist"):
            assert (await other.delete(path)).status_code == 404
        assert (await other.get("/v1/jobs")).json()["jobs"] == []
        assert (await other.get("/v1/datasets")).json() == []
        for spec, pointer in (
            ({"kind": "train", "preset": "mnist-test", "dataset": "mnist"}, "/dataset"),
            ({"kind": "sample", "checkpoint": checkpoint}, "/checkpoint"),
            ({"kind": "analyze", "analysis": "training_curves", "jobs": [job.id]}, "/jobs/0"),
        ):
            answer = await other.post("/v1/jobs", json=spec)
            assert answer.status_code == 422
            assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    for path in paths[:6]:
        assert (await api.get(path)).status_code == 200


async def test_two_projects_may_use_one_name_for_their_data_sets(connected, api, database):
    spec = {"name": "digits", "source": {"kind": "bundled", "name": "mnist_5k"}}
    assert (await api.post("/v1/datasets", json=spec)).status_code == 201
    assert (await api.post("/v1/datasets", json=spec)).status_code == 409
    async with connected(await add_key(database, **OTHERS)) as other:
        assert (await other.post("/v1/datasets", json=spec)).status_code == 201


async def test_key_is_shown_once_and_stored_as_a_hash(connected, api, database):
    options = {"name": "ci", "project": "vision", "scopes": ["submit"]}
    headers = {"Idempotency-Key": "k"}
    made = await api.post("/v1/api-keys", json=options, headers=headers)
    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"
    key = made.json()["key"]
    again = await api.post("/v1/api-keys", json=options, headers=headers)
    assert again.json() == made.json() | {"key": None}
    listed = (await api.get("/v1/api-keys")).json()[0]
    assert "key" not in listed
    assert key.endswith(listed["hint"].removeprefix("…"))
    async with database.transaction() as session:
        stored = (await session.scalars(select(ApiKey).where(ApiKey.id == listed["id"]))).one()
        assert stored.key_hash == hash_key(key)
        whole = await session.scalars(text("SELECT row_to_json(t)::text FROM idempotent_answers t"))
        assert key not in "".join(whole)
    async with connected(key) as client:
        assert (await client.get("/v1/jobs")).status_code == 200
        revoked = await api.delete(f"/v1/api-keys/{listed['id']}")
        assert revoked.json()["revoked_at"]
        assert (await api.delete(f"/v1/api-keys/{listed['id']}")).json() == revoked.json()
    async with connected(key) as client:
        assert (await client.get("/v1/jobs")).status_code == 401


async def test_first_key_is_made_once_and_stays_revoked(connected, database):
    key = "chosen-by-whoever-deploys-the-service"
    assert await make_first_key(database, key)
    assert not await make_first_key(database, key)
    async with connected(key) as client:
        [own] = (await client.get("/v1/api-keys")).json()
        assert own["scopes"] == ["admin"]
        await client.delete(f"/v1/api-keys/{own['id']}")
    assert not await make_first_key(database, key)
    async with connected(key) as client:
        assert (await client.get("/v1/jobs")).status_code == 401


async def test_no_key_is_in_a_log_an_error_or_an_event(connected, database, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    await add_dataset(database)
    key = await add_key(database)
    spec = {"kind": "train", "preset": "mnist-test", "dataset": "mnist"}
    async with connected(key) as client:
        job = (await client.post("/v1/jobs", json=spec)).json()
        answers = [
            await client.get(f"/v1/jobs/{job['id']}/events"),
            await client.post("/v1/jobs", json={"kind": key}),
            await client.get("/v1/jobs", params={"cursor": "x"}),
        ]
    assert answers[0].json()[0]["data"]["by"].startswith("key_")
    assert not any(key in answer.text for answer in (answers[0], answers[2]))
    written = "".join(capfd.readouterr()) + caplog.text
    assert "request.answered" in written
    assert key not in json.dumps(written)


async def test_header_of_a_client_forges_no_line_of_the_log(connected, database):
    with structlog.testing.capture_logs() as told:
        async with connected(await add_key(database)) as client:
            answer = await client.get("/healthz", headers={"X-Request-Id": 'a"} {"event": "forged'})
            assert answer.headers["X-Request-Id"].startswith("req_")
            answer = await client.get("/v1/jobs/%0A%7B%22event%22:%22forged%22%7D")
            assert answer.status_code == 404
    assert {entry["event"] for entry in told} == {"request.answered"}
    assert all("\n" not in structlog.processors.JSONRenderer()(None, "", e) for e in told)
