"""Owns an attempt on this node, in a process of its own that the fork server forks.

It lives in a session of its own, so a restart of the worker does not stop training; it ends when
the work is done, when the lease is lost, or when the embedded stack it belongs to is gone.
"""

import asyncio
import contextlib
import ctypes
import os
import signal

import structlog

from nvae_core.run_directory import RunDirectory
from services.database import completion
from services.database.attempts import Claim
from services.database.completion import Outcome
from services.database.session import Database, DatabaseUnavailable
from services.domain.errors import LeaseLost
from services.domain.states import Reason
from services.processes import kill_marked, wait_until_unlocked
from services.settings import (
    DatabaseSettings,
    LeaseSettings,
    LocalSettings,
    StorageSettings,
    WorkerSettings,
)
from services.storage.s3 import S3Storage
from services.telemetry import tracing
from services.worker.folders import attempt_folder, drop_large_files
from services.worker.retry import retry_outages
from services.worker.runner.assignment import Assignment, load_assignment
from services.worker.runner.execution import Execution
from services.worker.runner.lease import Lease
from services.worker.trainer.process import attempt_marker

PR_SET_CHILD_SUBREAPER = 36
log = structlog.get_logger()


async def run_attempt(settings: WorkerSettings, claim: Claim) -> None:
    """Run the attempt to its end, then leave no process and no large file behind."""
    database = Database(DatabaseSettings())
    run_directory = RunDirectory(attempt_folder(settings.data_folder, claim.attempt_id) / "run")
    run_directory.logs.mkdir(parents=True, exist_ok=True)
    lease = Lease(database, LeaseSettings(), run_directory, claim=claim)
    parent_lock = LocalSettings().parent_lock

    async def work() -> None:
        assignment = await retry_outages(lambda: load_assignment(database, claim))
        structlog.contextvars.bind_contextvars(
            job_id=assignment.job_id, attempt=assignment.attempt_number
        )
        tracing.describe(tracing.current(), _described(assignment))
        log.info("attempt.started", kind=assignment.spec.kind, slots=assignment.slots)
        await Execution(
            settings=settings,
            database=database,
            storage=S3Storage(StorageSettings()),
            run_directory=run_directory,
            assignment=assignment,
            claim=claim,
            orders=lease.orders,
        ).run()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lease.leave)
    tasks = [asyncio.create_task(work()), asyncio.create_task(lease.hold())]
    if parent_lock is not None:
        tasks.append(asyncio.create_task(wait_until_unlocked(parent_lock)))
    failure: Exception | None = None
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    try:
        for task in done:
            task.result()  # raises what ended it
    except LeaseLost as error:
        log.warning("runner.lease_lost", message=error.message)
        tracing.fail(tracing.current(), error.message)
    except Exception as error:
        log.exception("runner.crashed")
        tracing.fail(tracing.current(), repr(error))
        failure = error
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # Before the slots are given back: nobody may find a rank of ours on them.
    await asyncio.to_thread(kill_marked, attempt_marker(claim))
    if failure is not None:
        outcome = Outcome(Reason.RUNNER_FAILED, f"the runner failed: {failure!r}")
        with contextlib.suppress(DatabaseUnavailable):
            await completion.finish_if_live(database, claim, outcome)
    await asyncio.to_thread(drop_large_files, run_directory)
    await database.close()


def _described(assignment: Assignment) -> tracing.Attributes:
    """Return what a span tells of an attempt."""
    return {
        "nvae.job.id": assignment.job_id,
        "nvae.job.kind": assignment.spec.kind,
        "nvae.attempt.number": assignment.attempt_number,
        "nvae.num_slots": len(assignment.slots),
    }


def run(claim: Claim, *, parent: str | None, lock: int) -> None:
    """Run the attempt in this process, which holds its lock, and end the process.

    Args:
        claim: of this node.
        parent: the `traceparent` of the claim.
        lock: the descriptor that holds the lock.
    """
    structlog.contextvars.bind_contextvars(attempt_id=claim.attempt_id)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    status = 1
    try:
        settings = WorkerSettings()
        tracing.start("runner")  # not in the fork server: threads do not survive a fork
        place: tracing.Attributes = {
            "nvae.attempt.id": claim.attempt_id,
            "nvae.node.name": settings.node_name,
            "nvae.node.rank": claim.node_rank,
        }
        loop = asyncio.new_event_loop()  # asyncio.run would wait for threads at the end
        with tracing.span("run attempt", parent=parent, attributes=place):
            loop.run_until_complete(run_attempt(settings, claim))
        status = 0
    except Exception:
        log.exception("runner.crashed")
    finally:
        os.close(lock)  # nobody else waits for a collector of traces
        tracing.stop()
        os._exit(status)  # a thread that hangs in an upload must not keep the process
