"""Imports of checkpoints: which sources may be named."""

import pytest


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
