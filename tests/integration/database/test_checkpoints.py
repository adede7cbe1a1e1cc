"""Checkpoints in Postgres: committed once, held while they are read, and given up."""

import asyncio

import pytest
from sqlalchemy import func, select, text
from stored_rows import (
    age,
    change,
    statuses,
    store_attempt,
    store_checkpoint,
    store_job,
)

from services.database import checkpoints, garbage, jobs
from services.database.session import new_id
from services.database.tables import Checkpoint, Job
from services.domain.errors import Conflict, NotFound
from services.domain.keys import StoredFile

FILE = StoredFile("model.safetensors", 3, "0" * 64)
GRACE = 86_400.0
IS_ONE_WAITING = text("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted")


@pytest.fixture
async def job(database):
    return await store_job(database, keep_last=1)


@pytest.fixture
async def attempt(database, job):
    return await store_attempt(database, job)


async def add(database, attempt, step):
    prefix = f"jobs/{attempt.job_id}/attempts/{attempt.number}/checkpoints/{step}"
    async with database.transaction() as session:
        await checkpoints.add(
            session, attempt, checkpoint_id=new_id("ckpt"), step=step, prefix=prefix, files=[FILE]
        )


async def steps_of(database, job, status="committed"):
    async with database.transaction() as session:
        rows = await checkpoints.list_of_job(session, job.id, status=status)
    return [row.step for row in rows]


async def newest_step(database, job):
    async with database.transaction() as session:
        newest = await checkpoints.newest(session, job.id)
    return newest and newest.step


async def call(database, function, *arguments):
    async with database.transaction() as session:
        return await function(session, *arguments)


async def collect(database, job):
    """Mark what is not needed; return its steps and why."""
    async with database.transaction() as session:
        found = await garbage.lock_garbage(session, job.id, grace_seconds=GRACE)
        await garbage.mark(session, [checkpoint.id for checkpoint, _ in found])
    return [(checkpoint.step, reason) for checkpoint, reason in found]


async def test_checkpoint_is_committed_once_per_step(database, job, attempt):
    for _ in range(2):
        await add(database, attempt, 10)
    await change(database, attempt, status="finished")
    await add(database, await store_attempt(database, job, number=2), 10)
    assert await steps_of(database, job) == [10]
    events = await call(database, lambda session: jobs.list_events(session, job.id, after=0))
    assert [(event.type, event.data["step"]) for event in events] == [("checkpoint", 10)]


async def test_step_is_committed_anew_after_training_went_back_before_it(database, job, attempt):
    await add(database, attempt, 10)
    await add(database, attempt, 20)
    await call(database, checkpoints.supersede_after, job.id, 10)
    assert await newest_step(database, job) == 10
    await change(database, attempt, status="finished")
    await add(database, await store_attempt(database, job, number=2), 20)
    assert (await steps_of(database, job), await newest_step(database, job)) == ([10, 20], 20)
    assert await steps_of(database, job, "superseded") == [20]


async def test_publishing_again_does_not_bring_back_what_is_being_deleted(database, job, attempt):
    await add(database, attempt, 10)
    await add(database, attempt, 20)
    async with database.transaction() as session:
        [first, _] = await checkpoints.list_of_job(session, job.id)
        await checkpoints.request_deletion(session, first.id)
    await add(database, attempt, 10)
    assert await steps_of(database, job) == [20]


async def find_usable(session, checkpoint_id):
    return await checkpoints.find_usable(session, "default", checkpoint_id)


@pytest.mark.parametrize("status", ["superseded", "corrupt", "deleting", "deleted"])
async def test_newest_is_a_committed_one(database, job, attempt, status):
    await store_checkpoint(database, attempt, 10)
    await store_checkpoint(database, attempt, 20, status=status)
    assert await newest_step(database, job) == 10


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("superseded", "is superseded"),
        ("corrupt", "is corrupt"),
        ("deleting", "is being deleted"),
        ("deleted", "was deleted"),
    ],
)
async def test_one_that_is_not_committed_cannot_be_used(database, attempt, status, words):
    checkpoint = await store_checkpoint(database, attempt, 10, status=status)
    with pytest.raises(Conflict, match=f"checkpoint {checkpoint.id} {words}"):
        await call(database, find_usable, checkpoint.id)


async def test_unknown_one_is_not_found(database):
    for function in (checkpoints.find, find_usable, checkpoints.pin):
        with pytest.raises(NotFound, match="ckpt_x"):
            await call(database, function, "ckpt_x")


async def test_pinned_one_survives_collection_and_deletion(database, job, attempt):
    pinned, *_ = [await store_checkpoint(database, attempt, step) for step in (10, 20, 30, 40)]
    await call(database, checkpoints.pin, pinned.id)
    assert await collect(database, job) == [(20, "outdated")]
    with pytest.raises(Conflict, match="pinned"):
        await call(database, checkpoints.request_deletion, pinned.id)
    await call(database, checkpoints.unpin, pinned.id)
    assert await collect(database, job) == [(10, "outdated")]
    with pytest.raises(Conflict, match="being deleted"):
        await call(database, checkpoints.pin, pinned.id)


async def test_what_an_unfinished_job_resumes_from_cannot_be_deleted(database, job, attempt):
    older, newest = [await store_checkpoint(database, attempt, step) for step in (10, 20)]
    with pytest.raises(Conflict, match="resumes from"):
        await call(database, checkpoints.request_deletion, newest.id)
    await call(database, checkpoints.request_deletion, older.id)
    await change(database, job, status="succeeded")
    for _ in range(2):
        await call(database, checkpoints.request_deletion, newest.id)
    assert await statuses(database, older, newest) == ["deleting", "deleting"]


async def test_what_an_unfinished_job_reads_stays_until_it_has_ended(database, job, attempt):
    read, *_ = [await store_checkpoint(database, attempt, step) for step in (10, 20, 30)]
    reader = await store_job(database, kind="sample", status="queued", checkpoint_id=read.id)
    assert await collect(database, job) == []
    with pytest.raises(Conflict, match=f"read by job {reader.id}"):
        await call(database, checkpoints.request_deletion, read.id)
    await change(database, reader, status="failed")
    assert await collect(database, job) == [(10, "outdated")]


async def test_corrupt_one_goes_a_day_after_it_was_found(database, job, attempt):
    await store_checkpoint(database, attempt, 10)
    corrupt = await store_checkpoint(database, attempt, 20)
    for _ in range(2):
        await call(database, checkpoints.mark_corrupt, corrupt)
    assert await newest_step(database, job) == 10
    assert await collect(database, job) == []
    await age(database, corrupt, hours=25)
    assert await collect(database, job) == [(20, "corrupt")]
    events = await call(database, lambda session: jobs.list_events(session, job.id, after=0))
    assert [event.type for event in events] == ["checkpoint_corrupt"]


async def test_change_of_status_starts_the_grace_anew(database, job, attempt):
    old = await store_checkpoint(database, attempt, 20)
    await age(database, old, hours=25)
    await call(database, checkpoints.supersede_after, job.id, 10)
    assert await collect(database, job) == []


async def submit(database, checkpoint, *, read=None, until=None):
    """Store a job that reads the checkpoint, holding the transaction open between the events."""
    async with database.transaction() as session:
        await find_usable(session, checkpoint.id)
        if read is not None:
            read.set()
            await until.wait()
        session.add(
            Job(
                id=new_id("job"), kind="sample", spec={}, priority=1, num_slots=1, status="queued",
                checkpoint_id=checkpoint.id,
            )
        )  # fmt: skip


async def test_collection_passes_over_what_is_being_submitted(database, job, attempt):
    wanted, *_ = [await store_checkpoint(database, attempt, step) for step in (10, 20, 30)]
    read, until = asyncio.Event(), asyncio.Event()
    submission = asyncio.create_task(submit(database, wanted, read=read, until=until))
    await read.wait()
    assert await collect(database, job) == []
    until.set()
    await submission
    assert await collect(database, job) == []
    assert await statuses(database, wanted) == ["committed"]


async def test_submission_waits_for_the_mark_and_is_refused(database, job, attempt):
    wanted, *_ = [await store_checkpoint(database, attempt, step) for step in (10, 20, 30)]
    async with database.transaction() as session:
        [(found, _)] = await garbage.lock_garbage(session, job.id, grace_seconds=GRACE)
        submission = asyncio.create_task(submit(database, wanted))
        async with database.transaction() as other:
            while not await other.scalar(IS_ONE_WAITING):
                await asyncio.sleep(0.02)
        await garbage.mark(session, [found.id])
    with pytest.raises(Conflict, match="is being deleted"):
        await submission
    async with database.transaction() as session:
        assert not await session.scalar(select(func.count(Job.id)).where(Job.kind == "sample"))


async def test_many_submissions_against_collection_never_read_what_goes(database, job, attempt):
    rows = [await store_checkpoint(database, attempt, step) for step in range(10, 90, 10)]

    async def try_to_submit(checkpoint):
        try:
            await submit(database, checkpoint)
        except Conflict:
            return False
        return True

    submissions = [asyncio.create_task(try_to_submit(row)) for row in rows for _ in range(3)]
    collections = [asyncio.create_task(collect(database, job)) for _ in range(4)]
    await asyncio.gather(*submissions, *collections)
    async with database.transaction() as session:
        reads = select(Checkpoint.status).join(Job, Job.checkpoint_id == Checkpoint.id)
        assert set(await session.scalars(reads)) == {"committed"}
    await collect(database, job)
    assert (await steps_of(database, job))[-2:] == [70, 80]
