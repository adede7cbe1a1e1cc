"""Imports of checkpoints: which sources may be named."""

import pytest
from building import (
    add_checkpoint,
    add_claimed_attempt,
    add_dataset,
    add_node,
    find_job,
    finish,
)

from nvae_core.presets import find_preset
from services.database import attempts
from services.domain.states import Reason


async def test_import_makes_a_job(api):
    body = {"name": "paper", "source": {"kind": "published", "path": "nvae/cifar10.pt"}}
    answer = await api.post("/v1/checkpoints", json=body)
    job = answer.json()
    assert (answer.status_code, job["kind"], job["status"]) == (201, "import_checkpoint", "queued")
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    body["source"] = {"kind": "folder", "path": "s3://bucket/datasets/own"}
    assert (await api.post("/v1/checkpoints", json=body)).status_code == 201


@pytest.mark.parametrize(
    ("source", "pointer"),
    [
        ({"kind": "published", "path": "/etc/passwd"}, "/source/path"),
        ({"kind": "published", "path": "a/../../b"}, "/source/path"),
        ({"kind": "folder", "path": "s3://another/prefix"}, "/source/path"),
        ({"kind": "folder", "path": "file:///etc"}, "/source/path"),
        ({"kind": "pickle", "path": "x"}, "/source/kind"),
        ({"kind": "published"}, "/source/path"),
    ],
)
async def test_source_out_of_reach_is_refused_by_field(api, source, pointer):
    answer = await api.post("/v1/checkpoints", json={"source": source})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert (await api.get("/v1/jobs")).json()["jobs"] == []


@pytest.fixture
async def imported(api, database):
    """The claim of an import that is under way, and the checkpoint it has published."""
    await add_dataset(database)
    source = {"kind": "published", "path": "nvae/mnist.pt"}
    job = (await api.post("/v1/checkpoints", json={"source": source})).json()
    claim = await add_claimed_attempt(
        database, await find_job(database, job["id"]), await add_node(database)
    )
    async with database.transaction() as session:
        await attempts.make_ready(session, claim)
    return claim, await add_checkpoint(database, claim)


@pytest.mark.parametrize(
    "use",
    [
        {"kind": "evaluate", "dataset": "mnist"},
        {"kind": "sample", "fixed_scales": 1},
        {"kind": "analyze", "analysis": "scale_traversal"},
    ],
    ids=lambda use: use["kind"],
)
async def test_checkpoint_is_used_when_its_import_has_succeeded(api, database, imported, use):
    claim, checkpoint = imported
    use = use | {"checkpoint": checkpoint}
    answer = await api.post("/v1/jobs", json=use)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == "/checkpoint"
    assert "has not ended yet" in error["message"]
    preset = find_preset("mnist-test")
    result = {name: getattr(preset, name).model_dump() for name in ("model", "optimization")}
    await finish(database, claim, Reason.SUCCEEDED, result=result)
    assert (await api.post("/v1/jobs", json=use)).status_code == 201


async def test_checkpoint_of_an_import_that_failed_is_refused_by_field(api, database, imported):
    claim, checkpoint = imported
    await finish(database, claim, Reason.INVALID_CONFIG)
    use = {"kind": "evaluate", "dataset": "mnist", "checkpoint": checkpoint}
    answer = await api.post("/v1/jobs", json=use)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == "/checkpoint"
    assert "ended as failed" in error["message"]
