"""What appears in the run directory reaches Postgres and S3, once."""

import pytest
from building import find_job, finish

from nvae_core.run_directory import ArtifactLine, CheckpointLine, MetricsLine, StartedLine
from services.adapters.postgres import checkpoints, results
from services.adapters.postgres.charts import Chart, Window, read_charts
from services.domain.errors import LeaseLost
from services.domain.statuses import Reason
from services.worker.publishing import Publisher


def publisher_for(database, storage, run_directory, claim, job):
    return Publisher(
        database,
        storage,
        run_directory,
        job_id=job.id,
        claim=claim,
        attempt_number=1,
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
        window = Window(from_step=0, to_step=100, max_points=1000)
        charts = await read_charts(session, job_id, window)
        stored_checkpoints = await checkpoints.list_of_job(session, job_id)
        artifacts = await results.list_artifacts(session, job_id)
    return charts, stored_checkpoints, artifacts


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
