"""What an analysis of jobs, or of a checkpoint, is given of what other jobs left."""

from datetime import UTC, datetime

import pytest
from building import add_checkpoint, add_claimed_attempt, add_job, finish

from nvae_core.config import statistics_name
from services.api.jobs.submission import submit_job
from services.database import artifacts, attempts, metrics
from services.database.metrics import MetricValues
from services.database.session import new_id
from services.database.tables import Artifact
from services.domain.specs import ActiveChannelsSpec, TemperatureTableSpec, TrainingCurvesSpec
from services.domain.states import Reason
from services.worker.inputs.job_metrics import read_job_metrics, write_job_metrics
from services.worker.runner.assignment import load_assignment

VALUES = {
    "loss": 5.0,
    "kl": 1.0,
    "spectral_weight": 0.1,
    "active_channels": 7.0,
    "active_channels/group_00": 7.0,
    "images_per_second": 9.0,
}


async def report(database, claim):
    async with database.transaction() as session:
        live = await attempts.fenced(session, claim)
        await metrics.add_metrics(session, live, [MetricValues(10, datetime.now(UTC), VALUES)])


@pytest.fixture
async def trained(database, node_id):
    """Return a function that stores a train job of this name that has reported its metrics."""

    async def train(name=None):
        job = await add_job(database, name=name)
        claim = await add_claimed_attempt(database, job, node_id)
        await report(database, claim)
        await finish(database, claim, Reason.TRAINER_CRASHED)
        return job.id

    return train


@pytest.mark.parametrize(
    ("spec_type", "names"),
    [
        (TrainingCurvesSpec, {"loss", "kl", "spectral_weight"}),
        (ActiveChannelsSpec, {"active_channels", "active_channels/group_00"}),
    ],
)
async def test_only_what_is_drawn_is_read(database, trained, spec_type, names):
    spec = spec_type(jobs=[await trained()])
    async with database.transaction() as session:
        [found] = await read_job_metrics(session, spec)
    assert found.charts.keys() == names


async def test_jobs_whose_names_are_alike_for_long_are_told_apart(database, trained, tmp_path):
    ids = [await trained("x" * 60 + end) for end in ("a", "b")]
    async with database.transaction() as session:
        metrics = await read_job_metrics(session, TrainingCurvesSpec(jobs=ids))
    runs = write_job_metrics(metrics, tmp_path)
    assert [run.name for run in runs] == [f"{'x' * 20} {job_id}" for job_id in ids]


async def names_of(database, ids, folder):
    async with database.transaction() as session:
        metrics = await read_job_metrics(session, TrainingCurvesSpec(jobs=ids))
    runs = write_job_metrics(metrics, folder)
    assert [run.job for run in runs] == ids
    return [run.name for run in runs]


async def test_a_job_named_as_another_is_with_its_id_is_told_apart(database, trained, tmp_path):
    first, second = [await trained("foo") for _ in range(2)]
    third = await trained(f"foo {first}")
    names = await names_of(database, [first, second, third], tmp_path)
    assert names == [f"foo {first}", f"foo {second}", f"foo {first}"[:20] + f" {third}"]


async def test_names_of_jobs_are_as_a_legend_can_show_them(database, trained, tmp_path):
    ids = [await trained(name) for name in ("a\nb\x01c", " \t", "y" * 59 + " z")]
    assert await names_of(database, ids, tmp_path) == ["a b c", ids[1], "y" * 59]


async def test_table_of_temperatures_gets_the_statistics_that_were_estimated_before(
    database, node_id
):
    claim = await add_claimed_attempt(database, await add_job(database), node_id)
    spec = TemperatureTableSpec(
        checkpoint=await add_checkpoint(database, claim), temperatures=(0.5, 0.7)
    )
    await finish(database, claim, Reason.TRAINER_CRASHED)
    async with database.transaction() as session:
        first, job = [await submit_job(session, spec, project="default") for _ in range(2)]
    await leave_statistics(database, first, node_id)
    claim = await add_claimed_attempt(database, job, node_id)
    assignment = await load_assignment(database, claim)
    assert [folder.files[0].name for folder in assignment.statistics] == [statistics_name(0.7, 500)]


async def leave_statistics(database, job, node_id):
    claim = await add_claimed_attempt(database, job, node_id)
    async with database.transaction() as session:
        live = await attempts.fenced(session, claim)
        name = statistics_name(0.7, 500)
        artifact = Artifact(
            id=new_id("art"),
            job_id=job.id,
            attempt_id=live.id,
            name=name,
            key=f"jobs/{job.id}/samples/{name}",
            content_type="application/octet-stream",
            size_bytes=1,
            sha256="0" * 64,
        )
        await artifacts.add(session, live, artifact)
    await finish(database, claim, Reason.TRAINER_CRASHED)
