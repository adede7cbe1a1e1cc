"""One attempt's work: fetch the inputs, run the trainer, publish, and say how it ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from nvae_core.run_directory import ExitReason, Result, RunDirectory
from services.adapters.postgres import attempts, results
from services.adapters.postgres.attempts import Ending
from services.adapters.postgres.database import Database, DatabaseUnavailable
from services.adapters.s3_storage import ChecksumMismatch, S3Storage, StorageUnavailable
from services.domain.errors import InvalidSpec
from services.domain.statuses import Reason
from services.settings import WorkerSettings
from services.worker.assignment import Assignment
from services.worker.inputs import InputCache
from services.worker.publishing import PreparedDataset, Publisher
from services.worker.slots import take_inventory
from services.worker.trainer import Trainer, TrainerPlan, attempt_marker

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 300.0  # with an object store that is away, after the trainer has ended

T = TypeVar("T")
log = structlog.get_logger()


@dataclass(frozen=True)
class Execution:
    """Everything an attempt works with."""

    settings: WorkerSettings
    database: Database
    storage: S3Storage
    run_directory: RunDirectory
    assignment: Assignment
    attempt_id: str
    fence: int
    stop_requested: asyncio.Event

    async def run(self) -> None:
        """Do the work and commit its end.

        Raises:
            LeaseLost: the attempt is not live any more; nothing was committed after that.
        """
        prepared = None
        try:
            await self._prepare_run_directory()
            ending = await self._train()
            if ending.reason == Reason.SUCCEEDED and self.run_directory.dataset.exists():
                prepared = await patiently(self._publisher().upload_dataset)
        except InvalidSpec as error:
            ending = Ending(Reason.INVALID_DATASET, error.message)
        except ChecksumMismatch as error:
            ending = Ending(Reason.CHECKPOINT_CORRUPT, str(error))
        except StorageUnavailable as error:
            ending = Ending(Reason.STORAGE_UNAVAILABLE, f"the object store failed: {error}")
        await patiently(lambda: self._close(ending, prepared))
        log.info("attempt.finished", reason=ending.reason, message=ending.message)

    async def _prepare_run_directory(self) -> None:
        cache = InputCache(self.settings.data_folder / "inputs", self.storage)
        config = await asyncio.to_thread(
            self.assignment.configure, cache, datasets_folder=self.settings.datasets_folder
        )
        self.run_directory.create(config)

    async def _train(self) -> Ending:
        if self.stop_requested.is_set():
            return Ending(Reason.CANCELLED_BY_USER, "cancelled before the trainer started")
        async with self.database.transaction() as session:
            attempt = await attempts.fenced(session, self.attempt_id, self.fence)
            await attempts.start(session, attempt)
        trainer = Trainer(self._plan())
        publisher = self._publisher()
        try:
            await self._follow(trainer, publisher)
            await patiently(publisher.publish_rest)
        except ValueError as error:  # the trainer wrote garbage
            return Ending(Reason.TRAINER_CRASHED, str(error))
        finally:
            strays = await trainer.kill()
            if strays:
                log.error("trainer.strays", pids=sorted(strays))
        return judge(
            self.run_directory.read_result(), trainer.exit_code(), trainer.last_log_lines()
        )

    async def _follow(self, trainer: Trainer, publisher: Publisher) -> None:
        stop_deadline: float | None = None
        while trainer.is_running():
            try:
                await publisher.publish_new()
            except (*DatabaseUnavailable, *StorageUnavailable) as error:
                log.warning("publish.postponed", error=str(error).splitlines()[0])
            if self.stop_requested.is_set() and stop_deadline is None:
                self.run_directory.request_stop()
                stop_deadline = time.monotonic() + self.settings.stop_grace_seconds
            if stop_deadline is not None and time.monotonic() > stop_deadline:
                return  # the caller kills it
            await asyncio.sleep(LOOK_SECONDS)

    async def _close(self, ending: Ending, prepared: PreparedDataset | None) -> None:
        async with self.database.transaction() as session:
            attempt = await attempts.fenced(session, self.attempt_id, self.fence)
            if prepared is not None and self.assignment.dataset_id is not None:
                await results.publish_dataset(
                    session,
                    self.assignment.dataset_id,
                    description=prepared.description,
                    prefix=prepared.prefix,
                    files=prepared.files,
                )
            await attempts.close(session, attempt, ending)

    def _plan(self) -> TrainerPlan:
        return TrainerPlan(
            kind=self.assignment.spec.kind,
            run_directory=self.run_directory,
            marker=attempt_marker(self.attempt_id, self.fence),
            slots=self.assignment.slots,
            slot_kind=self.assignment.slot_kind,
            threads_per_slot=take_inventory(self.settings).threads_per_slot,
        )

    def _publisher(self) -> Publisher:
        return Publisher(
            self.database,
            self.storage,
            self.run_directory,
            job_id=self.assignment.job_id,
            attempt_id=self.attempt_id,
            attempt_number=self.assignment.attempt_number,
            fence=self.fence,
        )


def judge(result: Result | None, exit_code: int | None, log_lines: str) -> Ending:
    """Return how the attempt ended: what `result.json` says, and only without one the exit code."""
    if result is None:
        message = f"the trainer ended with exit code {exit_code} and left no result"
        return Ending(Reason.TRAINER_CRASHED, f"{message}\n{log_lines}".strip())
    if result.status == "succeeded":
        values = {"step": result.step, **result.values}
        return Ending(Reason.SUCCEEDED, result.message or "done", values)
    message = result.message or "the trainer gave no message"
    if result.reason in (None, ExitReason.STOPPED, ExitReason.LEASE_LOST):
        return Ending(Reason.WORKER_LOST, message)  # after a cancel the job knows better
    return Ending(Reason(result.reason), message)


async def patiently(operation: Callable[[], Awaitable[T]]) -> T:
    """Return what the operation returns, trying again while Postgres or the store is away."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = 0.5
    while True:
        try:
            return await operation()
        except (*DatabaseUnavailable, *StorageUnavailable) as error:
            if time.monotonic() + pause > deadline:
                raise
            log.warning("commit.postponed", error=str(error).splitlines()[0])
        await asyncio.sleep(pause)
        pause = min(2 * pause, 10.0)
