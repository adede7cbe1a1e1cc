"""Downloads: redirects that expire, and files through the API where the store is private."""

import asyncio
import hashlib

import httpx
import pytest
from building import add_claimed_attempt, add_dataset, add_job, add_key, add_node

from services.database import artifacts, attempts, checkpoints
from services.database.session import new_id
from services.database.tables import Artifact
from services.domain.keys import StoredFile
from services.settings import StorageSettings
from services.storage.s3 import S3Storage

CONTENT = bytes(range(256)) * 9000  # more than two pieces
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def settings(servers):
    """Return a function that makes the settings of the bucket."""

    def make(**changes):
        return StorageSettings(
            endpoint_url=servers["NVAE_S3_ENDPOINT_URL"],
            bucket=servers["NVAE_S3_BUCKET"],
            access_key=servers["NVAE_S3_ACCESS_KEY"],
            secret_key=servers["NVAE_S3_SECRET_KEY"],
            **changes,
        )

    return make


@pytest.fixture
async def path(database, storage, tmp_path):
    """The path of a checkpoint's file in the API."""
    await add_dataset(database)
    job = await add_job(database)
    claim = await add_claimed_attempt(database, job, await add_node(database))
    (tmp_path / "model.safetensors").write_bytes(CONTENT)
    prefix, checkpoint_id = f"jobs/{job.id}/attempts/1/checkpoints/1", new_id("ckpt")
    key = f"{prefix}/model.safetensors"
    await asyncio.to_thread(storage.upload, tmp_path / "model.safetensors", key)
    async with attempts.fenced_write(database, claim) as (session, attempt):
        files = [StoredFile("model.safetensors", len(CONTENT), SHA256)]
        await checkpoints.add(
            session, attempt, checkpoint_id=checkpoint_id, step=1, prefix=prefix, files=files
        )
        artifact = Artifact(
            id=new_id("art"),
            job_id=job.id,
            attempt_id=attempt.id,
            name="attempt_1/grid.png",
            key=key,
            content_type="image/png",
            size_bytes=len(CONTENT),
            sha256=SHA256,
        )
        await artifacts.add(session, attempt, artifact)
    return f"/v1/checkpoints/{checkpoint_id}/files/model.safetensors"


@pytest.fixture
async def private(connected, database, settings):
    """A client of an API whose store clients cannot reach."""
    storage = S3Storage(settings(downloads="proxy"))
    async with connected(await add_key(database), storage=storage) as client:
        yield client


async def test_presigned_url_is_good_for_a_while(connected, database, settings, path):
    storage = S3Storage(settings(presigned_url_seconds=2))
    async with connected(await add_key(database), storage=storage) as client:
        answer = await client.get(path)
    assert answer.status_code == 307
    url = answer.headers["Location"]
    async with httpx.AsyncClient(trust_env=False) as anybody:
        assert (await anybody.get(url)).content == CONTENT
        await asyncio.sleep(3)
        assert (await anybody.get(url)).status_code == 403
        assert (await anybody.get(url.partition("?")[0])).status_code == 403


async def test_private_file_comes_whole_or_in_parts(private, path):
    whole = await private.get(path)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["Content-Length"] == str(len(CONTENT))
    assert whole.headers["ETag"] == f'"{SHA256}"'
    assert 'filename="model.safetensors"' in whole.headers["Content-Disposition"]
    for given, expected in (
        ("bytes=0-0", CONTENT[:1]),
        ("bytes=100-199", CONTENT[100:200]),
        ("bytes=2000000-", CONTENT[2_000_000:]),
        ("bytes=-5", CONTENT[-5:]),
        (f"bytes=5-{10**12}", CONTENT[5:]),
        (f"bytes=-{10**12}", CONTENT),
    ):
        part = await private.get(path, headers={"Range": given})
        assert (part.status_code, part.content == expected) == (206, True), given
    for ignored in ("bytes=0-1,5-6", "lines=1-2", "bytes=5-4", "bytes=-"):
        assert (await private.get(path, headers={"Range": ignored})).status_code == 200
    other = {"Range": "bytes=0-0", "If-Range": '"another"'}
    assert (await private.get(path, headers=other)).status_code == 200
    known = {"If-None-Match": whole.headers["ETag"]}
    assert (await private.get(path, headers=known)).status_code == 304


@pytest.mark.parametrize("given", [f"bytes={len(CONTENT)}-", "bytes=-0"])
async def test_part_behind_the_end_is_refused(private, path, given):
    answer = await private.get(path, headers={"Range": given})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


async def test_artifact_has_its_type_and_names_with_folders(private, path, database):
    [job] = (await private.get("/v1/jobs")).json()["jobs"]
    answer = await private.get(f"/v1/jobs/{job['id']}/artifacts/attempt_1/grid.png")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")


@pytest.mark.parametrize(
    "name", ["../../../stack.json", "..%2F..%2Fx", "model.safetensors/", "%00", "/etc/passwd"]
)
async def test_tricks_with_names_find_nothing(private, path, name):
    [job] = (await private.get("/v1/jobs")).json()["jobs"]
    folder = path.rpartition("/")[0]
    for url in (f"{folder}/{name}", f"/v1/jobs/{job['id']}/artifacts/{name}"):
        answer = await private.get(url)
        assert answer.status_code in {404, 422}, (url, answer.text)
