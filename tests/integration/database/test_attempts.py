"""The fence, the lease and the end of attempts, on real Postgres."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from building import (
    add_artifact,
    add_checkpoint,
    add_claimed_attempt,
    add_dataset,
    add_job,
    add_node,
    find_attempt,
    find_job,
    finish,
    place,
)
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from nvae_core.config import ESTIMATES_NAME
from services.api.jobs.schemas import AttemptResource, JobResource
from services.database import attempts, checkpoints, control, jobs, metrics, nodes, placement
from services.database.metrics import MetricValues
from services.database.session import DatabaseUnavailable
from services.database.tables import Attempt, Metric
from services.domain.errors import Conflict, LeaseLost
from services.domain.states import Reason

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def node_id(database):
    await add_dataset(database)
    return await add_node(database)


@pytest.fixture
async def job(database, node_id):
    return await add_job(database, resources={"slots": 2})


@pytest.fixture
async def claim(database, job, node_id):
    return await add_claimed_attempt(database, job, node_id)


async def free_slots(database):
    async with database.transaction() as session:
        [node] = await nodes.list_free(session)
    return len(node.free)


async def test_two_workers_cannot_claim_the_same_attempt(database, job, node_id):
    await place(database, job, [node_id])

    async def claim():
        async with database.transaction() as session:
            return len(await attempts.claim(session, node_id, lease_seconds=30))

    assert sorted(await asyncio.gather(*(claim() for _ in range(8)))) == [0] * 7 + [1]


async def test_second_live_attempt_of_a_job_is_impossible(database, claim, job, node_id):
    with pytest.raises(IntegrityError, match="uq_attempts_one_live"):
        async with database.transaction() as session:
            session.add(
                Attempt(id="att_2", job_id=job.id, number=2, node_id=node_id, status="placed")
            )


async def test_placed_job_takes_its_slots_and_its_end_frees_them(database, claim):
    assert await free_slots(database) == 0
    await finish(database, claim, Reason.OUT_OF_MEMORY)
    assert await free_slots(database) == 2


async def test_stale_fence_writes_nothing(database, claim, job):
    with pytest.raises(LeaseLost):
        await finish(database, replace(claim, fence=claim.fence + 1), Reason.SUCCEEDED)
    assert (await find_job(database, job.id)).status == "starting"


async def test_attempt_that_ended_cannot_be_written_to(database, claim):
    await finish(database, claim, Reason.WORKER_LOST)
    with pytest.raises(LeaseLost):
        await add_checkpoint(database, claim)


async def test_lost_worker_returns_the_job_to_the_queue(database, claim, job):
    await finish(database, claim, Reason.WORKER_LOST, "the runner died")
    job = await find_job(database, job.id)
    assert (job.status, job.reason) == ("queued", "waiting_for_retry")
    assert "the runner died" in job.message
    async with database.transaction() as session:
        assert [queued.id for queued in await placement.list_placeable(session)] == [job.id]


async def test_second_loss_waits_before_the_next_attempt(database, claim, node_id, job):
    await finish(database, claim, Reason.WORKER_LOST)
    job = await find_job(database, job.id)
    await finish(database, await add_claimed_attempt(database, job, node_id), Reason.WORKER_LOST)
    async with database.transaction() as session:
        assert await placement.list_placeable(session) == []


async def test_committed_checkpoint_refills_the_budget(database, claim, node_id, job):
    await finish(database, claim, Reason.WORKER_LOST)
    job = await find_job(database, job.id)
    second = await add_claimed_attempt(database, job, node_id)
    await add_checkpoint(database, second)
    await finish(database, second, Reason.WORKER_LOST)
    async with database.transaction() as session:
        assert len(await placement.list_placeable(session)) == 1


async def test_new_estimates_of_an_evaluation_refill_the_budget(database, claim, node_id, job):
    await add_artifact(database, claim, ESTIMATES_NAME)
    await finish(database, claim, Reason.WORKER_LOST)
    job = await find_job(database, job.id)
    second = await add_claimed_attempt(database, job, node_id)
    await add_artifact(database, second, ESTIMATES_NAME)
    await finish(database, second, Reason.WORKER_LOST)
    async with database.transaction() as session:
        assert len(await placement.list_placeable(session)) == 1
    third = await add_claimed_attempt(database, job, node_id)
    await add_artifact(database, third, "grid.png")
    await finish(database, third, Reason.WORKER_LOST)
    async with database.transaction() as session:
        assert await placement.list_placeable(session) == []


async def test_evaluation_may_take_hours_and_is_placed_in_its_turn(database, claim, node_id):
    fields = {"checkpoint": await add_checkpoint(database, claim)}
    for kind in ("sample", "evaluate"):
        more = {"dataset": "mnist"} if kind == "evaluate" else {}
        await add_job(database, kind=kind, **fields, **more)
    async with database.transaction() as session:
        placeable = await placement.list_placeable(session)
    assert sorted(job.is_short for job in placeable) == [False, True]


async def test_fault_of_the_job_fails_it_with_reason_and_message(database, claim, job):
    await finish(database, claim, Reason.INVALID_DATASET, "train.npy is damaged")
    job = await find_job(database, job.id)
    assert (job.status, job.reason, job.message) == (
        "failed",
        "invalid_dataset",
        "train.npy is damaged",
    )
    assert job.finished_at is not None


async def test_cancelled_job_ends_cancelled_whatever_the_runner_says(database, claim, job):
    async with database.transaction() as session:
        await control.cancel(session, job.id)
    async with database.transaction() as session:
        orders = await attempts.renew(session, claim, lease_seconds=30)
    assert (orders.stop, orders.forced) == (Reason.CANCELLED_BY_USER, False)
    await finish(database, claim, Reason.WORKER_LOST)
    assert (await find_job(database, job.id)).status == "cancelled"


async def test_job_that_succeeds_before_it_hears_of_the_cancel_has_succeeded(database, claim, job):
    async with database.transaction() as session:
        await attempts.make_ready(session, claim)
        await control.cancel(session, job.id)
    await finish(database, claim, Reason.SUCCEEDED)
    assert (await find_job(database, job.id)).status == "succeeded"


async def test_event_numbers_have_no_gaps_under_concurrent_writers(database, claim, job):
    async def write(step):
        await add_checkpoint(database, claim, step)

    await asyncio.gather(*(write(step) for step in range(10)))
    async with database.transaction() as session:
        events = await jobs.list_events(session, job.id, after=0)
    assert [event.number for event in events] == list(range(1, 13))
    assert [event.type for event in events[:2]] == ["submitted", "starting"]


async def test_metrics_and_checkpoints_reported_twice_are_stored_once(database, claim, job):
    point = MetricValues(3, AT, {"loss": float("nan"), "kl": 2.5})
    for _ in range(2):
        async with database.transaction() as session:
            live = await attempts.fenced(session, claim)
            await metrics.add_metrics(session, live, [point])
        await add_checkpoint(database, claim, step=3)
    async with database.transaction() as session:
        assert len((await session.scalars(select(Metric))).all()) == 2
        assert len(await checkpoints.list_of_job(session, job.id)) == 1
    job = await find_job(database, job.id)
    assert (job.step, job.latest_metrics) == (3, {"loss": "NaN", "kl": 2.5})


async def test_job_shows_the_newest_value_of_each_metric(database, claim, job):
    for step, values in ((1, {"kl": 2.0}), (2, {"validation/kl": 5.0}), (3, {"kl": 1.0})):
        async with database.transaction() as session:
            live = await attempts.fenced(session, claim)
            await metrics.add_metrics(session, live, [MetricValues(step, AT, values)])
    job = await find_job(database, job.id)
    assert job.latest_metrics == {"kl": 1.0, "validation/kl": 5.0}


async def test_slot_of_a_gpu_that_has_gone_is_not_given_out_again(database, claim):
    await add_node(database, num_slots=1)
    await finish(database, claim, Reason.OUT_OF_MEMORY)
    assert await free_slots(database) == 1


async def test_slot_that_is_taken_cannot_be_given_to_another_job(database, claim, node_id):
    other = await add_job(database)
    with pytest.raises(Conflict, match="taken"):
        await place(database, other, [node_id])
    assert (await find_job(database, other.id)).status == "queued"


async def test_many_metrics_are_stored_in_one_go(database, claim):
    values = {f"kl/group_{group}": 1.0 for group in range(100)}
    points = [MetricValues(step, AT, values) for step in range(200)]
    async with database.transaction() as session:
        live = await attempts.fenced(session, claim)
        await metrics.add_metrics(session, live, points)
    async with database.transaction() as session:
        assert len((await session.scalars(select(Metric.step))).all()) == 20_000


async def test_message_with_a_zero_character_is_stored_without_it(database, claim, job):
    await finish(database, claim, Reason.OUT_OF_MEMORY, "a\0b\ud800")
    assert (await find_job(database, job.id)).message == "ab?"


async def test_waiting_for_a_row_that_another_holds_ends_with_an_error(database, claim):
    async with database.transaction() as session:
        await attempts.fenced(session, claim)
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction() as other:
                await other.execute(text("SET LOCAL lock_timeout = '100ms'"))
                await attempts.fenced(other, claim)


async def test_events_are_only_ever_appended(database, job):
    for statement in ("DELETE FROM events", "UPDATE events SET data = '{}'"):
        with pytest.raises(ProgrammingError, match="only ever appended"):
            async with database.transaction() as session:
                await session.execute(text(statement))


async def test_job_names_the_device_of_the_attempt_that_started_last(database, claim, job):
    device = {"name": "NVIDIA H200", "torch": "2.13.0", "cuda": "13.0"}
    async with attempts.fenced_write(database, claim) as (session, attempt):
        await metrics.set_totals(session, attempt, num_steps=2, num_parameters=7, device=device)
    stored = await find_job(database, job.id)
    assert JobResource.of(stored).model_dump()["device"] == device
    attempt = await find_attempt(database, claim.attempt_id)
    assert AttemptResource.of(attempt, node_ids=[]).model_dump()["device"] == device
