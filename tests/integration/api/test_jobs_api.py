"""Jobs over HTTP: submitted, listed, cancelled; files by redirect."""

import hashlib
from datetime import UTC, datetime

import httpx
import pytest
from building import (
    add_checkpoint,
    add_claimed_attempt,
    add_dataset,
    add_job,
    add_node,
    find_job,
    finish,
)

from services.database import artifacts, attempts, metrics
from services.database.session import new_id
from services.database.tables import Artifact
from services.domain.states import Reason

TRAIN = {"kind": "train", "preset": "mnist-test", "dataset": "mnist"}


@pytest.fixture
async def node_id(database):
    await add_dataset(database)
    return await add_node(database)


async def test_submitted_job_waits_and_says_why(api, node_id):
    response = await api.post("/v1/jobs", json=TRAIN | {"tags": {"team": "vision"}})
    job = response.json()
    assert response.status_code == 201
    assert response.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["status"], job["reason"]) == ("queued", "waiting_for_slots")
    assert job["tags"] == {"team": "vision"}
    shown = (await api.get(response.headers["Location"])).json()
    assert shown == job | {"queue_position": 1}


async def test_list_pages_through_every_job_once_newest_first(api, node_id):
    ids = [(await api.post("/v1/jobs", json=TRAIN)).json()["id"] for _ in range(5)]
    listed, cursor = [], ""
    while cursor is not None:
        url = "/v1/jobs?limit=2" + (f"&cursor={cursor}" if cursor else "")
        page = (await api.get(url)).json()
        listed += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
    assert sorted(listed) == sorted(ids)
    assert listed == sorted(listed, reverse=True)


async def test_list_filters_by_status_and_kind(api, node_id):
    job = (await api.post("/v1/jobs", json=TRAIN)).json()
    for query, found in [("status=queued", 1), ("status=running", 0), ("kind=sample", 0)]:
        page = (await api.get(f"/v1/jobs?{query}")).json()
        assert [listed["id"] for listed in page["jobs"]] == [job["id"]] * found


async def test_queued_job_is_cancelled_at_once_and_again_is_no_error(api, node_id):
    job = (await api.post("/v1/jobs", json=TRAIN)).json()
    for _ in range(2):
        response = await api.post(f"/v1/jobs/{job['id']}/cancel")
        assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    events = (await api.get(f"/v1/jobs/{job['id']}/events")).json()
    assert [event["type"] for event in events] == ["submitted", "cancelled"]


async def test_job_that_has_ended_cannot_be_cancelled(api, database, node_id):
    job_id, claim = await submit_and_claim(api, database, node_id)
    await finish(database, claim, Reason.OUT_OF_MEMORY)
    response = await api.post(f"/v1/jobs/{job_id}/cancel")
    assert (response.status_code, response.json()["code"]) == (409, "conflict")
    assert "failed" in response.json()["detail"]


async def fetch(url):
    async with httpx.AsyncClient() as client:
        return (await client.get(url)).content


async def submit_and_claim(api, database, node_id):
    job_id = (await api.post("/v1/jobs", json=TRAIN)).json()["id"]
    job = await find_job(database, job_id)
    return job_id, await add_claimed_attempt(database, job, node_id)


async def test_cancelled_preparation_frees_the_name_of_the_data_set(api, node_id):
    body = {"name": "faces", "source": {"kind": "bundled", "name": "mnist_5k"}}
    for _ in range(2):
        registered = await api.post("/v1/datasets", json=body)
        assert registered.status_code == 201
        await api.post(f"/v1/jobs/{registered.json()['job']['id']}/cancel")
        shown = await api.get(f"/v1/datasets/{registered.json()['dataset']['id']}")
        assert shown.json()["status"] == "failed"


async def test_evaluation_on_images_of_another_size_is_refused(api, database, node_id):
    await add_dataset(database, "large", height=64, width=64)
    _, claim = await submit_and_claim(api, database, node_id)
    checkpoint_id = await add_checkpoint(database, claim)
    body = {"kind": "evaluate", "checkpoint": checkpoint_id, "dataset": "large"}
    response = await api.post("/v1/jobs", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/dataset"


async def test_checkpoint_file_is_downloaded_by_redirect(api, database, storage, node_id, tmp_path):
    job_id, claim = await submit_and_claim(api, database, node_id)
    checkpoint_id = await add_checkpoint(database, claim)
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    key = f"jobs/{job_id}/attempts/1/checkpoints/1/model.safetensors"
    storage.upload(tmp_path / "model.safetensors", key)
    url = f"/v1/checkpoints/{checkpoint_id}/files/model.safetensors"
    response = await api.get(url)
    assert response.status_code == 307
    assert await fetch(response.headers["Location"]) == b"abc"
    assert (await api.get(url + "x")).status_code == 404


async def test_artifact_and_metrics_of_a_job(api, database, storage, node_id, tmp_path):
    job_id, claim = await submit_and_claim(api, database, node_id)
    (tmp_path / "grid.png").write_bytes(b"png")
    storage.upload(tmp_path / "grid.png", f"jobs/{job_id}/grid.png")
    losses = {1: 8.0, 2: 7.0}
    values = [
        metrics.MetricValues(step, datetime.now(UTC), {"loss": loss, "kl": float("inf")})
        for step, loss in losses.items()
    ]
    async with database.transaction() as session:
        live = await attempts.fenced(session, claim)
        await metrics.add_metrics(session, live, values)
        artifact = Artifact(
            id=new_id("art"), job_id=job_id, attempt_id=claim.attempt_id, name="samples/grid.png",
            key=f"jobs/{job_id}/grid.png", content_type="image/png", size_bytes=3,
            sha256=hashlib.sha256(b"png").hexdigest(),
        )  # fmt: skip
        await artifacts.add(session, live, artifact)
    series = (await api.get(f"/v1/jobs/{job_id}/metrics?names=loss")).json()
    assert series == {"loss": {"steps": [1, 2], "values": [8.0, 7.0]}}
    [listed] = (await api.get(f"/v1/jobs/{job_id}/artifacts")).json()
    response = await api.get(f"/v1/jobs/{job_id}/artifacts/{listed['name']}")
    assert await fetch(response.headers["Location"]) == b"png"
    job = (await api.get(f"/v1/jobs/{job_id}")).json()
    assert job["latest_metrics"] == {"loss": 7.0, "kl": "Infinity"}


async def test_nodes_presets_and_health(api, node_id):
    [node] = (await api.get("/v1/nodes")).json()
    assert (node["alive"], node["num_slots"], node["num_free_slots"]) == (True, 2, 2)
    assert "mnist" in [preset["name"] for preset in (await api.get("/v1/presets")).json()]
    assert (await api.get("/healthz")).status_code == 200
    assert (await api.get("/readyz")).json() == dict.fromkeys(
        ("database", "storage", "broker"), True
    )


async def test_request_id_is_kept_or_made(api):
    response = await api.get("/healthz", headers={"X-Request-Id": "mine-1"})
    assert response.headers["X-Request-Id"] == "mine-1"
    assert (await api.get("/healthz")).headers["X-Request-Id"].startswith("req_")


async def test_openapi_document_has_every_resource(api):
    document = (await api.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert {"/v1/jobs", "/v1/datasets", "/v1/presets", "/v1/nodes"} <= set(document["paths"])


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"kind": "sample", "temperature": 0}, "/temperature"),
        ({"kind": "sample", "temperature": [0.7, -1]}, "/temperature/1"),
        ({"kind": "sample", "temperature": [0.7, 0.7]}, "/temperature"),
        ({"kind": "sample", "num_images": 1025}, "/num_images"),
        ({"kind": "sample", "fixed_scales": 3}, "/fixed_scales"),
        ({"kind": "sample", "statistics": ["/etc/passwd"]}, "/statistics"),
        ({"kind": "evaluate", "first_image": 500}, "/first_image"),
        ({"kind": "evaluate", "first_image": 400, "num_images": 101}, "/num_images"),
        ({"kind": "evaluate", "split": "validation"}, "/split"),
        ({"kind": "evaluate", "resources": {"slots": 9}}, "/resources/slots"),
        ({"kind": "evaluate", "resume_from": "/etc/passwd"}, "/resume_from"),
        ({"kind": "analyze", "analysis": "interpolation", "images": [0, 500]}, "/images/1"),
        ({"kind": "analyze", "analysis": "reconstructions", "split": "validation"}, "/split"),
        ({"kind": "analyze", "analysis": "nearest_images", "num_samples": 65}, "/num_samples"),
        ({"kind": "analyze", "analysis": "reconstructions", "posterior": "mode"}, "/posterior"),
        (
            {"kind": "analyze", "analysis": "temperature_table", "temperatures": [1, 1]},
            "/temperatures",
        ),
    ],
)
async def test_samples_and_evaluations_that_cannot_be_name_the_field_and_are_not_stored(
    api, database, node_id, fields, pointer
):
    claim = await add_claimed_attempt(database, await add_job(database), node_id)
    checkpoint_id = await add_checkpoint(database, claim)
    spec = {"checkpoint": checkpoint_id} | fields
    if fields["kind"] != "sample":
        spec |= {"dataset": "mnist"}
    response = await api.post("/v1/jobs", json=spec)
    assert response.status_code == 422
    assert pointer in {error["pointer"] for error in response.json()["errors"]}
    assert len((await api.get("/v1/jobs")).json()["jobs"]) == 1


async def test_comparison_of_what_is_no_train_job_is_refused(api, database, node_id):
    claim = await add_claimed_attempt(database, await add_job(database), node_id)
    checkpoint_id = await add_checkpoint(database, claim)
    sample = await api.post("/v1/jobs", json={"kind": "sample", "checkpoint": checkpoint_id})
    train = (await api.get("/v1/jobs?kind=train")).json()["jobs"][0]["id"]
    spec = {"kind": "analyze", "analysis": "training_curves"}
    for other, words in (
        (sample.json()["id"], "is a sample job"),
        (new_id("job"), "there is no job"),
        (train, "has reported nothing yet"),
    ):
        response = await api.post("/v1/jobs", json=spec | {"jobs": [other]})
        assert response.status_code == 422
        assert response.json()["errors"][0]["pointer"] == "/jobs/0"
        assert words in response.json()["detail"]
