"""What appears in the run directory reaches Postgres and S3, once."""

import asyncio
import json
import shutil
import threading

import pytest
from building import find_attempt, find_job, finish
from relay import Relay

from nvae_core.run_directory import ArtifactLine, CheckpointLine, MetricsLine, StartedLine
from services.database import artifacts, checkpoints, jobs, metrics
from services.database.metrics import Chart, Window, read_charts
from services.database.session import DatabaseUnavailable
from services.domain.errors import LeaseLost
from services.domain.states import Reason
from services.settings import StorageSettings
from services.storage.s3 import S3Storage, StorageUnavailable
from services.worker import retry
from services.worker.publish.publisher import Publisher, publish_until


def publisher_for(database, storage, run_directory, claim, job):
    return Publisher(
        database,
        storage,
        run_directory,
        job_id=job.id,
        claim=claim,
        attempt_number=1,
        first_rank=0,
    )


@pytest.fixture
def publisher(database, storage, run_directory, claim, job):
    return publisher_for(database, storage, run_directory, claim, job)


def write_run(run_directory):
    checkpoint = run_directory.checkpoints / "step_00000002"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    (checkpoint / "checkpoint.json").write_text("{}")
    run_directory.samples.mkdir()
    (run_directory.samples / "grid.png").write_bytes(b"png")
    for line in (
        StartedLine(at=1.0, num_steps=2, num_parameters=9),
        MetricsLine(at=2.0, step=1, values={"loss": 3.0}),
        MetricsLine(at=3.0, step=2, values={"loss": 2.0}),
        CheckpointLine(at=3.5, step=2, path="checkpoints/step_00000002"),
        ArtifactLine(at=4.0, name="grid.png", path="samples/grid.png", content_type="image/png"),
    ):
        run_directory.append(line)


async def stored(database, job_id):
    async with database.transaction() as session:
        window = Window(from_step=0, to_step=10_000, max_points=1000)
        charts = await read_charts(session, job_id, window)
        stored_checkpoints = await checkpoints.list_of_job(session, job_id)
        stored_artifacts = await artifacts.list_of_job(session, job_id)
    return charts, stored_checkpoints, stored_artifacts


async def test_everything_is_stored_once_even_if_published_twice(
    database, storage, run_directory, claim, job, publisher
):
    write_run(run_directory)
    await publisher.publish_rest()
    await publisher_for(database, storage, run_directory, claim, job).publish_rest()
    charts, [checkpoint], [artifact] = await stored(database, job.id)
    assert charts == {"loss": Chart([1, 2], [3.0, 2.0])}
    assert [file["name"] for file in checkpoint.files] == ["checkpoint.json", "model.safetensors"]
    assert artifact.size_bytes == 3
    job = await find_job(database, job.id)
    assert (job.step, job.num_steps, job.num_parameters) == (2, 2, 9)


async def test_job_and_attempt_name_the_device_of_the_trainer(
    database, run_directory, claim, job, publisher
):
    line = {"type": "started", "at": 1.0, "num_steps": 2, "device": "NVIDIA H200"}
    versions = {"torch": "2.13.0", "cuda": "13.0"}
    run_directory.progress_path.write_text(json.dumps(line | versions) + "\n")
    await publisher.publish_rest()
    device = {"name": "NVIDIA H200"} | versions
    assert (await find_job(database, job.id)).device == device
    assert (await find_attempt(database, claim.attempt_id)).device == device


async def test_line_that_is_still_being_written_waits(database, run_directory, publisher, job):
    run_directory.append(MetricsLine(at=1.0, step=1, values={"loss": 3.0}))
    with run_directory.progress_path.open("ab") as file:
        file.write(b'{"type": "metr')
        file.flush()
        assert await publisher.publish_new() == 1
        assert await publisher.publish_new() == 0
        file.write(b'ics", "at": 2.0, "step": 2, "values": {"loss": "NaN"}}\n')
    assert await publisher.publish_new() == 1


async def test_garbage_in_the_progress_file_is_named(run_directory, publisher):
    run_directory.progress_path.write_bytes(b"Traceback (most recent call last):\n")
    with pytest.raises(ValueError, match=r"progress\.jsonl, byte 0"):
        await publisher.publish_new()


async def test_attempt_that_has_ended_publishes_nothing(
    database, run_directory, claim, job, publisher
):
    write_run(run_directory)
    await finish(database, claim, Reason.WORKER_LOST)
    with pytest.raises(LeaseLost):
        await publisher.publish_rest()
    assert await stored(database, job.id) == ({}, [], [])


async def test_dropped_checkpoint_is_passed_over(database, run_directory, publisher, job):
    run_directory.append(CheckpointLine(at=1.0, step=1, path="checkpoints/step_00000001"))
    await publisher.publish_rest()
    assert (await stored(database, job.id))[1] == []


def write_checkpoint(run_directory, step):
    folder = run_directory.checkpoints / f"step_{step:08}"
    folder.mkdir(parents=True)
    for name in ("checkpoint.json", "model.safetensors", "training.safetensors"):
        (folder / name).write_text(f"{name} {step}")
    path = str(folder.relative_to(run_directory.path))
    run_directory.append(CheckpointLine(at=1.0, step=step, path=path))
    return folder


def write_metrics(run_directory, steps):
    for step in steps:
        run_directory.append(MetricsLine(at=1.0, step=step, values={"loss": float(step)}))


async def wait_for(condition, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


@pytest.fixture
def relay(servers):
    return Relay(servers["NVAE_S3_ENDPOINT_URL"])


@pytest.fixture
async def relayed(servers, relay):
    """The bucket, at an address where nobody listens yet."""
    yield S3Storage(
        StorageSettings(
            endpoint_url=relay.url,
            bucket=servers["NVAE_S3_BUCKET"],
            access_key=servers["NVAE_S3_ACCESS_KEY"],
            secret_key=servers["NVAE_S3_SECRET_KEY"],
        )
    )
    await relay.close()


@pytest.fixture
def uploads(monkeypatch):
    """The keys that were uploaded, in order."""
    keys, upload = [], S3Storage.upload

    def note(storage, path, key):
        upload(storage, path, key)
        keys.append(key)

    monkeypatch.setattr(S3Storage, "upload", note)
    return keys


@pytest.fixture
def slow(monkeypatch):
    """An event until which every upload waits."""
    event, upload = threading.Event(), S3Storage.upload

    def wait(storage, path, key):
        assert event.wait(60)
        upload(storage, path, key)

    monkeypatch.setattr(S3Storage, "upload", wait)
    yield event
    event.set()


async def committed_steps(database, job):
    """Return the steps of the checkpoints in the order of their commits."""
    async with database.transaction() as session:
        events = await jobs.list_events(session, job.id, after=0)
    return [event.data["step"] for event in events if event.type == "checkpoint"]


async def test_metrics_do_not_wait_for_a_slow_upload(database, run_directory, publisher, job, slow):
    ended, cancelled = asyncio.Event(), asyncio.Event()
    publishing = asyncio.create_task(publish_until(ended, publisher, cancelled=cancelled))
    write_metrics(run_directory, [1])
    write_checkpoint(run_directory, 1)
    write_metrics(run_directory, range(2, 500))

    async def are_all_there():
        charts, stored_checkpoints, _ = await stored(database, job.id)
        assert stored_checkpoints == []
        return charts and charts["loss"].steps == list(range(1, 500))

    await wait_for(are_all_there)
    ended.set()
    slow.set()
    await asyncio.wait_for(publishing, 20)
    assert await committed_steps(database, job) == [1]


async def test_store_that_is_away_holds_up_no_metrics_and_loses_no_file(
    database, run_directory, relay, relayed, claim, job
):
    publisher = publisher_for(database, relayed, run_directory, claim, job)
    write_run(run_directory)
    ended = asyncio.Event()
    publishing = asyncio.create_task(publish_until(ended, publisher, cancelled=asyncio.Event()))

    async def has_progress():
        return (await find_job(database, job.id)).step == 2

    await wait_for(has_progress)
    write_metrics(run_directory, [3])
    ended.set()

    async def has_metrics():
        return (await stored(database, job.id))[0]["loss"].steps == [1, 2, 3]

    await wait_for(has_metrics)
    assert (await stored(database, job.id))[1:] == ([], [])
    await relay.open()
    await asyncio.wait_for(publishing, 60)
    _, [checkpoint], [artifact] = await stored(database, job.id)
    assert (checkpoint.step, artifact.name) == (2, "grid.png")


async def test_what_is_left_is_given_up_after_a_while(
    database, run_directory, relayed, claim, job, monkeypatch
):
    monkeypatch.setattr(retry, "MAX_OUTAGE_SECONDS_AFTER_CANCEL", 0.5)
    publisher = publisher_for(database, relayed, run_directory, claim, job)
    write_run(run_directory)
    ended = asyncio.Event()
    ended.set()
    with pytest.raises(StorageUnavailable):
        await asyncio.wait_for(publish_until(ended, publisher, cancelled=ended), 30)
    assert (await find_job(database, job.id)).step == 2


async def test_upload_that_takes_too_long_after_the_end_is_given_up(
    run_directory, publisher, slow, monkeypatch
):
    monkeypatch.setattr(retry, "MAX_OUTAGE_SECONDS", 0.5)
    write_run(run_directory)
    ended = asyncio.Event()
    ended.set()
    with pytest.raises(StorageUnavailable, match="not all files"):
        await asyncio.wait_for(publish_until(ended, publisher, cancelled=asyncio.Event()), 30)


async def test_checkpoint_waits_for_the_metrics_before_it(
    database, run_directory, publisher, job, monkeypatch
):
    write_metrics(run_directory, [1])
    write_checkpoint(run_directory, 1)
    with monkeypatch.context() as patched:
        patched.setattr(metrics, "add_metrics", fail_with(DatabaseUnavailable("away")))
        with pytest.raises(DatabaseUnavailable):
            await publisher.publish_new()
        assert not await publisher.publish_next_file()
    await publisher.publish_rest()
    assert await committed_steps(database, job) == [1]


def fail_with(error):
    async def fail(*_, **__):
        raise error

    return fail


async def test_newest_checkpoint_goes_first_and_its_manifest_last(
    database, run_directory, publisher, job, uploads
):
    for step in (1, 2, 3):
        write_checkpoint(run_directory, step)
    await publisher.publish_rest()
    assert await committed_steps(database, job) == [3, 2, 1]
    assert [key.rpartition("/")[2] for key in uploads[:3]] == [
        "model.safetensors",
        "training.safetensors",
        "checkpoint.json",
    ]


async def test_after_an_error_only_what_is_missing_is_done_again(
    database, run_directory, publisher, job, uploads, monkeypatch
):
    write_checkpoint(run_directory, 1)
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "add", fail_with(DatabaseUnavailable("away")))
        with pytest.raises(DatabaseUnavailable):
            await publisher.publish_rest()
    await publisher.publish_rest()
    assert len(uploads) == 3
    assert await committed_steps(database, job) == [1]


async def test_checkpoint_that_is_dropped_during_its_upload_is_stored_whole(
    database, run_directory, publisher, job, storage, tmp_path, monkeypatch
):
    folder, upload = write_checkpoint(run_directory, 1), S3Storage.upload

    def drop_and_upload(storage, path, key):
        shutil.rmtree(folder, ignore_errors=True)
        upload(storage, path, key)

    monkeypatch.setattr(S3Storage, "upload", drop_and_upload)
    await publisher.publish_rest()
    [checkpoint] = (await stored(database, job.id))[1]
    for file in checkpoint.files:
        key = f"{checkpoint.prefix}/{file['name']}"
        storage.download(key, tmp_path / "copy", sha256=file["sha256"])
        assert (tmp_path / "copy").read_text() == f"{file['name']} 1"
    assert [*run_directory.checkpoints.iterdir()] == []


async def test_lost_lease_ends_the_uploads_too(database, run_directory, publisher, claim, slow):
    publishing = asyncio.create_task(
        publish_until(asyncio.Event(), publisher, cancelled=asyncio.Event())
    )
    write_checkpoint(run_directory, 1)
    await wait_for(lambda: asyncio.sleep(0, [*run_directory.checkpoints.glob(".uploading_*")]))
    await finish(database, claim, Reason.WORKER_LOST)
    slow.set()
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(publishing, 20)


async def test_what_comes_before_garbage_is_stored(database, run_directory, publisher, job):
    write_run(run_directory)
    with run_directory.progress_path.open("ab") as file:
        offset = file.tell()
        file.write(b"Oops\n")
    with pytest.raises(ValueError, match=rf"progress\.jsonl, byte {offset}"):
        await publisher.publish_rest()
    await publisher.publish_files()
    charts, [checkpoint], [artifact] = await stored(database, job.id)
    assert (charts["loss"].steps, checkpoint.step, artifact.name) == ([1, 2], 2, "grid.png")
