"""What nobody needs goes from Postgres and the object store; everything else stays."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text
from stored_rows import (
    age,
    change,
    statuses,
    store,
    store_attempt,
    store_checkpoint,
    store_job,
)

from services.database import idempotency, logs
from services.database.session import new_id
from services.database.tables import Artifact, Attempt, Checkpoint, Dataset
from services.domain.keys import attempt_prefix
from services.domain.retention import Garbage
from services.scheduler.garbage_collector import GarbageCollector
from services.settings import CollectionSettings, StorageSettings
from services.storage.s3 import S3Storage, StorageUnavailable

NO_GRACE = CollectionSettings(grace_seconds=0)


@pytest.fixture(autouse=True)
def empty_bucket(storage):
    """No object of another test lies below jobs/."""
    storage.delete([stored.key for stored in storage.list_objects(storage.bucket, "jobs/")])
    for upload in storage.list_uploads("jobs/"):
        storage.abort_upload(upload)


@pytest.fixture
def put(s3_client, storage):
    def put_objects(*keys):
        for key in keys:
            s3_client.put_object(Bucket=storage.bucket, Key=key, Body=b"abc")

    return put_objects


@pytest.fixture
async def job(database):
    return await store_job(database, keep_last=1)


@pytest.fixture
async def attempt(database, job):
    return await store_attempt(database, job)


@pytest.fixture
async def five(database, attempt, put):
    """Five checkpoints of a running job, with their files; two of them are needed."""
    stored = [await store_checkpoint(database, attempt, step) for step in (10, 20, 30, 40, 50)]
    put(*(key for checkpoint in stored for key in checkpoint.keys))
    return stored


def stored_keys(storage, prefix="jobs/"):
    return {stored.key for stored in storage.list_objects(storage.bucket, prefix)}


async def collect(database, storage, settings=NO_GRACE, **options) -> list[Garbage]:
    collection = GarbageCollector(database, storage, settings, **options)
    return [item async for item in collection.collect()]


def names(found, kind):
    return [item.name for item in found if item.kind == kind]


async def check_that_nothing_committed_is_gone(database, storage):
    """The promise: what a committed row names is there."""
    async with database.transaction() as session:
        usable = ("committed", "superseded", "corrupt")
        rows = await session.scalars(select(Checkpoint).where(Checkpoint.status.in_(usable)))
        named = {key for row in rows for key in row.keys}
        named |= set(await session.scalars(select(Artifact.key)))
    assert named <= stored_keys(storage)


async def test_outdated_checkpoints_become_tombstones_and_their_files_go(database, storage, five):
    found = await collect(database, storage)
    assert [(item.name, item.reason, item.size_bytes) for item in found] == [
        (checkpoint.id, "outdated", 10) for checkpoint in five[:3]
    ]
    assert await statuses(database, *five) == ["deleted"] * 3 + ["committed"] * 2
    assert stored_keys(storage) == {key for checkpoint in five[3:] for key in checkpoint.keys}
    assert await collect(database, storage) == []


async def test_pinned_read_and_newest_ones_survive(database, storage, five):
    await change(database, five[0], pinned=True)
    await store_job(database, kind="evaluate", status="starting", checkpoint_id=five[1].id)
    assert names(await collect(database, storage), "checkpoint") == [five[2].id]
    await check_that_nothing_committed_is_gone(database, storage)


async def test_last_one_of_a_finished_job_survives(database, storage, job, attempt, five):
    await change(database, job, status="succeeded")
    await change(database, attempt, status="finished")
    assert len(await collect(database, storage)) == 4
    assert await statuses(database, five[4]) == ["committed"]
    await check_that_nothing_committed_is_gone(database, storage)


async def test_superseded_ones_go_after_the_grace(database, storage, five):
    await change(database, five[3], status="superseded")
    await change(database, five[4], status="superseded")
    await age(database, five[4], hours=25)
    found = await collect(database, storage, CollectionSettings())
    assert [(item.name, item.reason) for item in found] == [
        (five[0].id, "outdated"),
        (five[4].id, "superseded"),
    ]


async def test_dry_run_says_what_would_go_and_changes_nothing(database, storage, job, five, put):
    await change(database, five[1], status="deleting")
    ended = await store_attempt(database, await store_job(database), ended_hours_ago=1)
    orphan = f"{attempt_prefix(ended.job_id, 1)}/artifacts/grid.png"
    put(orphan)
    before = stored_keys(storage), await statuses(database, *five)
    found = await collect(database, storage, dry_run=True)
    assert (stored_keys(storage), await statuses(database, *five)) == before
    assert [(item.name, item.reason) for item in found] == [
        (five[0].id, "outdated"),
        (five[2].id, "outdated"),
        (five[1].id, "marked_before"),
        (orphan, "unnamed"),
    ]
    deleted = await collect(database, storage)
    assert {item.name for item in deleted} == {item.name for item in found}


class Crash(Exception):
    """The process ended here."""


class CrashingStorage(S3Storage):
    """A real store whose user dies before or after a deletion."""

    def __init__(self, settings, *, after_deletion):
        super().__init__(settings)
        self._after_deletion = after_deletion

    def delete(self, keys):
        if self._after_deletion:
            super().delete(keys)
        raise Crash


@pytest.mark.parametrize("after_deletion", [False, True])
async def test_crash_between_the_phases_is_taken_up(
    database, storage, servers, five, after_deletion
):
    settings = StorageSettings(
        endpoint_url=servers["NVAE_S3_ENDPOINT_URL"],
        bucket=servers["NVAE_S3_BUCKET"],
        access_key=servers["NVAE_S3_ACCESS_KEY"],
        secret_key=servers["NVAE_S3_SECRET_KEY"],
    )
    with pytest.raises(Crash):
        await collect(database, CrashingStorage(settings, after_deletion=after_deletion))
    assert await statuses(database, *five) == ["deleting"] * 3 + ["committed"] * 2
    await check_that_nothing_committed_is_gone(database, storage)
    found = await collect(database, storage)
    assert [item.reason for item in found] == ["marked_before"] * 3
    assert await statuses(database, *five) == ["deleted"] * 3 + ["committed"] * 2
    await check_that_nothing_committed_is_gone(database, storage)


async def test_store_that_is_away_leaves_the_marks_for_the_next_run(database, storage, five):
    away = StorageSettings(
        endpoint_url="http://127.0.0.1:1", bucket="b", access_key="a", secret_key="s"
    )
    with pytest.raises(StorageUnavailable):
        await collect(database, S3Storage(away))
    assert len(names(await collect(database, storage), "checkpoint")) == 3


async def test_one_run_deletes_no_more_than_it_may(database, storage, attempt):
    other = await store_attempt(database, await store_job(database, keep_last=1))
    for step in range(10, 60, 10):
        await store_checkpoint(database, attempt, step)
        await store_checkpoint(database, other, step)
    settings = CollectionSettings(max_checkpoints=2)
    counts = [len(await collect(database, storage, settings)) for _ in range(4)]
    assert counts == [2, 2, 2, 0]


async def test_orphans_of_an_attempt_that_ended_go_and_what_rows_name_stays(
    database, storage, job, put
):
    ended = await store_attempt(database, job, ended_hours_ago=25)
    prefix = attempt_prefix(job.id, 1)
    kept = await store_checkpoint(database, ended, 10)
    artifact = Artifact(
        id=new_id("art"), job_id=job.id, attempt_id=ended.id, name="grid.png",
        key=f"{prefix}/artifacts/grid.png", content_type="image/png", size_bytes=3, sha256="0" * 64,
    )  # fmt: skip
    dataset = Dataset(
        id=new_id("ds"), name="d", status="ready", source={}, prefix=f"{prefix}/dataset", files=[]
    )
    await store(database, artifact, dataset)
    named = {*kept.keys, artifact.key, f"{prefix}/dataset/train.npy"}
    orphans = {
        f"{prefix}/artifacts/grid.png.old",
        f"{prefix}/checkpoints/step_00000020/checkpoint.json",
        f"{prefix}/checkpoints/step_000000100/checkpoint.json",  # begins like one that is named
        f"{prefix}/datasets/train.npy",
    }
    put(*named, *orphans)
    found = await collect(database, storage, CollectionSettings())
    assert {(item.name, item.size_bytes) for item in found} == {(key, 3) for key in orphans}
    assert stored_keys(storage) == named
    await check_that_nothing_committed_is_gone(database, storage)


async def test_files_that_come_after_the_deletion_are_orphans(database, storage, job, put):
    ended = await store_attempt(database, job, ended_hours_ago=25)
    late = await store_checkpoint(database, ended, 10, status="deleted")
    going = await store_checkpoint(database, ended, 20, status="deleting")
    put(*late.keys, *going.keys)
    found = await collect(database, storage, CollectionSettings(), dry_run=True)
    assert names(found, "checkpoint") == [going.id]
    assert set(names(found, "object")) == set(late.keys)


async def test_objects_that_may_be_somebodys_stay(database, storage, job, attempt, put):
    just_ended = await store_attempt(database, await store_job(database), ended_hours_ago=23)
    keys = {
        f"{attempt_prefix(job.id, attempt.number)}/artifacts/x",  # of a live attempt
        f"{attempt_prefix(just_ended.job_id, 1)}/artifacts/x",
        f"{attempt_prefix(job.id, 2)}/artifacts/x",  # of an attempt that no row knows
        f"{attempt_prefix(new_id('job'), 1)}/artifacts/x",
        f"jobs/{job.id}/notes.txt",
        "jobs/readme.txt",
    }
    put(*keys, "datasets/mnist/train", "elsewhere")
    assert await collect(database, storage, CollectionSettings()) == []
    assert stored_keys(storage) == keys
    assert stored_keys(storage, "datasets/") | stored_keys(storage, "else") >= {
        "datasets/mnist/train",
        "elsewhere",
    }


async def test_search_for_orphans_goes_on_where_it_stopped(database, storage, job, put):
    await store_attempt(database, job, ended_hours_ago=25)
    prefix = attempt_prefix(job.id, 1)
    put(*(f"{prefix}/artifacts/{number}" for number in range(7)))
    collection = GarbageCollector(database, storage, CollectionSettings(max_objects=3))
    counts = []
    for _ in range(5):
        counts.append(len([item async for item in collection.collect()]))
    assert counts == [3, 3, 1, 0, 0]


async def test_uploads_of_ended_attempts_are_aborted_and_others_go_on(
    database, storage, s3_client, job, attempt
):
    ended = await store_attempt(database, await store_job(database), ended_hours_ago=1)
    left, live, foreign = (
        f"{attempt_prefix(ended.job_id, 1)}/checkpoints/a/model",
        f"{attempt_prefix(job.id, 1)}/checkpoints/a/model",
        "datasets/upload",
    )
    for key in (left, live, foreign):
        s3_client.create_multipart_upload(Bucket=storage.bucket, Key=key)
    assert await collect(database, storage, CollectionSettings(grace_seconds=1800)) == []
    assert names(await collect(database, storage), "upload") == [left]
    assert [upload.key for upload in storage.list_uploads("jobs/")] == [live]
    uploads = list(storage.list_uploads("datasets/"))
    assert [upload.key for upload in uploads] == [foreign]
    storage.abort_upload(uploads[0])


def run_program(servers, *arguments):
    command = [sys.executable, "-m", "services.scheduler.garbage_collector", *arguments]
    environment = os.environ | servers
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in ended.stdout.splitlines()]


async def test_program_prints_what_would_go_and_then_deletes_it(database, storage, servers, five):
    printed = run_program(servers, "--dry-run")
    assert printed == [
        {"kind": "checkpoint", "name": checkpoint.id, "reason": "outdated", "size_bytes": 10}
        for checkpoint in five[:3]
    ]
    assert await statuses(database, *five) == ["committed"] * 5
    assert run_program(servers) == printed
    assert await statuses(database, *five) == ["deleted"] * 3 + ["committed"] * 2


async def test_files_of_a_deleted_data_set_go_with_those_of_its_attempt(
    database, storage, job, attempt, put
):
    prefix = f"{attempt_prefix(job.id, attempt.number)}/dataset"
    put(f"{prefix}/train.npy")
    dataset = await store(
        database,
        Dataset(id=new_id("ds"), name="d", status="ready", source={}, prefix=prefix, files=[]),
    )
    await change(database, job, status="succeeded")
    await change(database, attempt, status="finished", finished_at=datetime.now(UTC))
    assert await collect(database, storage) == []
    await change(database, dataset, status="deleted")
    assert names(await collect(database, storage), "object") == [f"{prefix}/train.npy"]


async def test_old_logs_and_answers_go(database, storage, attempt):
    async with database.transaction() as session:
        live = await session.get_one(Attempt, attempt.id)
        await logs.add(session, live, rank=0, offset=0, text="one\n")
        await idempotency.begin(session, "default", "key", request_hash="x")
    collection = GarbageCollector(database, storage, CollectionSettings(keep_logs_seconds=60))
    counts = "SELECT (SELECT count(*) FROM log_chunks), (SELECT count(*) FROM idempotent_answers)"

    async def count():
        await collection.run()
        async with database.transaction() as session:
            return tuple((await session.execute(text(counts))).one())

    assert await count() == (1, 1)
    await change(database, attempt, status="finished")
    async with database.transaction() as session:
        for statement in (
            "UPDATE attempts SET finished_at = clock_timestamp() - interval '2 minutes'",
            "UPDATE idempotent_answers SET created_at = created_at - interval '25 hours'",
        ):
            await session.execute(text(statement))
    assert await count() == (0, 0)
