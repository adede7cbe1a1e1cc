"""An attempt's work with a real trainer process that behaves badly."""

import asyncio
import sys
import time

import pytest
from building import add_claimed_attempt, add_dataset, add_job, add_node, find_job

from services.database import attempts, control
from services.database.attempts import Orders
from services.domain.states import Reason
from services.settings import WorkerSettings
from services.storage.s3 import S3Storage, StorageUnavailable
from services.worker import retry
from services.worker.runner.assignment import load_assignment
from services.worker.runner.execution import Execution
from services.worker.runner.lease import HeardOrders
from services.worker.trainer import process, watchdogs

BAD_TRAINERS = {
    "ignores": "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)",
    "garbage": "import sys, time; open(sys.argv[1] + '/progress.jsonl', 'w').write('Oops\\n'); "
    "time.sleep(60)",
    "uploads": "import pathlib, sys, time; run = pathlib.Path(sys.argv[1]); "
    '(run / \'a\').write_text(\'a\'); line = \'{"type": "artifact", "at": 1, "name": "a", '
    '"path": "a", "content_type": "text/plain"}\\n\'; '
    "(run / 'progress.jsonl').write_text(line); time.sleep(60)",
    "is stopped by another node": "import pathlib, sys, time; run = pathlib.Path(sys.argv[1])\n"
    "while not (run / 'stop').exists(): time.sleep(0.05)\n"
    '(run / "result.json").write_text(\'{"status": "stopped", "reason": "stopped", "step": 3}\')',
    "fills the disk": "import sys, time; file = open(sys.argv[1] + '/big', 'wb'); "
    "[(file.write(bytes(10**6)), file.flush(), time.sleep(0.01)) for _ in range(6000)]",
    "dies": "import sys; sys.exit('the last words')",
}


@pytest.fixture
async def job(database):
    await add_dataset(database)
    return await add_job(database)


@pytest.fixture
async def run(database, storage, run_directory, tmp_path, job, monkeypatch):
    """Return a function that runs the job with a program in place of the trainer."""
    node_id = await add_node(database)
    claim = await add_claimed_attempt(database, job, node_id)
    orders = HeardOrders()

    def start(name):
        program = [sys.executable, "-c", BAD_TRAINERS[name], str(run_directory.path)]
        monkeypatch.setattr(process.TrainerPlan, "command", lambda plan: program)
        return asyncio.create_task(execute())

    async def execute():
        settings = WorkerSettings(
            node_name="n1",
            data_folder=tmp_path,
            slots=2,
            stop_grace_seconds=0.5,
            run_bytes_per_slot=50 * 10**6,
        )
        assignment = await load_assignment(database, claim)
        await Execution(
            settings=settings,
            database=database,
            storage=storage,
            run_directory=run_directory,
            assignment=assignment,
            claim=claim,
            orders=orders,
        ).run()

    return start, orders


async def test_trainer_that_ignores_every_request_is_killed(database, run, run_directory, job):
    start, orders = run
    task = start("ignores")
    while (await find_job(database, job.id)).status != "running":
        assert not task.done()
        await asyncio.sleep(0.05)
    orders.hear(Orders(go=True, stop=Reason.CANCELLED_BY_USER, forced=False))
    asked_at = time.monotonic()
    await task
    assert time.monotonic() - asked_at < 0.5 + 5 + 5
    assert run_directory.stop_requested()


async def test_garbage_in_the_progress_file_ends_the_attempt_with_its_name(database, run, job):
    await run[0]("garbage")
    ended = await find_job(database, job.id)
    assert (ended.status, ended.reason) == ("failed", "trainer_crashed")
    assert "progress.jsonl, byte 0" in ended.message


async def test_crash_at_the_start_fails_the_job_with_the_last_words(database, run, job):
    await run[0]("dies")
    ended = await find_job(database, job.id)
    assert (ended.status, ended.reason) == ("failed", "trainer_crashed")
    assert "the last words" in ended.message
    assert ended.num_attempts == 1


async def test_failure_of_the_machine_is_named_and_retried(database, run, run_directory, job):
    run_directory.config_path.mkdir()  # config.json cannot be written
    await run[0]("dies")
    ended = await find_job(database, job.id)
    assert (ended.status, ended.reason) == ("queued", "waiting_for_retry")
    assert "the runner failed" in ended.message


async def test_cancelled_job_does_not_wait_for_a_store_that_is_away(
    database, run, run_directory, job, monkeypatch
):
    monkeypatch.setattr(retry, "MAX_OUTAGE_SECONDS_AFTER_CANCEL", 1.0)

    def fail(*_):
        raise StorageUnavailable("away")

    monkeypatch.setattr(S3Storage, "upload", fail)
    start, orders = run
    task = start("uploads")
    while (await find_job(database, job.id)).status != "running":
        assert not task.done()
        await asyncio.sleep(0.05)
    async with database.transaction() as session:
        await control.cancel(session, job.id)
    orders.hear(Orders(go=True, stop=Reason.CANCELLED_BY_USER, forced=False))
    await asyncio.wait_for(task, 0.5 + 5 + 5)
    assert (await find_job(database, job.id)).status == "cancelled"


async def test_stop_that_another_node_heard_of_first_is_no_failure(
    database, run, run_directory, job
):
    task = run[0]("is stopped by another node")
    while (await find_job(database, job.id)).status != "running":
        assert not task.done()
        await asyncio.sleep(0.05)
    async with database.transaction() as session:
        await control.pause(session, job.id)
    run_directory.request_stop()  # the ranks agree on it, whichever runner asks
    await task
    async with database.transaction() as session:
        [attempt] = await attempts.list_all(session, job.id)
    assert (attempt.reason, attempt.message) == ("paused_by_user", "stopped at step 3")


async def test_run_that_takes_more_than_its_share_of_the_disk_ends(
    database, run, run_directory, job, monkeypatch
):
    monkeypatch.setattr(watchdogs, "LOOK_SECONDS", 0.1)
    await run[0]("fills the disk")
    ended = await find_job(database, job.id)
    assert (ended.status, ended.reason) == ("queued", "waiting_for_retry")
    assert "NVAE_WORKER_RUN_BYTES_PER_SLOT" in ended.message
    assert (run_directory.path / "big").stat().st_size < 5 * 10**8
