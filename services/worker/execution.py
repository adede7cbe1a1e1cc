"""One attempt's work: fetch the inputs, run the trainer, publish, and say how it ended."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from nvae_core.run_directory import ExitReason, Result, RunDirectory, is_disk_full
from services.adapters.postgres import attempts, results
from services.adapters.postgres.attempts import Ending
from services.adapters.postgres.database import Database, DatabaseUnavailable
from services.adapters.s3_storage import S3Storage, StorageUnavailable
from services.domain.errors import InvalidSpec, LeaseLost
from services.domain.statuses import Reason
from services.settings import WorkerSettings
from services.worker.assignment import Assignment
from services.worker.inputs import CorruptInput, InputCache
from services.worker.publishing import PreparedDataset, Publisher
from services.worker.slots import take_inventory
from services.worker.sources import SourceLocator, staging_folder
from services.worker.trainer import TERM_SECONDS, Trainer, TrainerPlan, attempt_marker

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 900.0  # with a store that is away, after the trainer has ended
HURRIED_SECONDS = 10.0  # the same after a cancel

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
            DatabaseUnavailable: Postgres was away for too long.
        """
        prepared = None
        publisher = self._publisher()
        try:
            ending = await self._prepare() or await self._train(publisher)
            if ending.reason == Reason.SUCCEEDED and self.run_directory.dataset.exists():
                prepared = await patiently(publisher.upload_dataset)
        except InvalidSpec as error:
            ending = Ending(Reason.INVALID_DATASET, error.message)
        except CorruptInput as error:
            ending = Ending(error.reason, str(error))
        except StorageUnavailable as error:
            ending = Ending(Reason.STORAGE_UNAVAILABLE, f"the object store failed: {error}")
        except (LeaseLost, DatabaseUnavailable):
            raise
        except Exception as error:  # a full disk, a fork that failed, a defect: say it to the user
            log.exception("runner.failed")
            reason = Reason.DISK_FULL if is_disk_full(error) else Reason.RUNNER_FAILED
            ending = Ending(reason, f"the runner failed: {error!r}")
        await patiently(lambda: self._close(ending, prepared))
        log.info("attempt.finished", reason=ending.reason, message=ending.message)

    async def _prepare(self) -> Ending | None:
        """Fetch the inputs and write `config.json`; a cancel does not wait for a download."""
        cache = InputCache(self.settings.data_folder / "inputs", self.storage)
        staging = staging_folder(self.run_directory)
        sources = SourceLocator(self.settings, staging, self.storage)
        configure = asyncio.to_thread(self.assignment.configure, cache, sources)
        fetching = asyncio.create_task(configure)
        stopping = asyncio.create_task(self.stop_requested.wait())
        try:
            await asyncio.wait((fetching, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not fetching.done():
                return Ending(Reason.CANCELLED_BY_USER, "cancelled before the trainer started")
            self.run_directory.create(fetching.result())
        finally:
            fetching.cancel()
            stopping.cancel()
        return None

    async def _train(self, publisher: Publisher) -> Ending:
        plan = await asyncio.to_thread(self._plan)
        await patiently(self._start)
        trainer = Trainer(plan)
        ended = asyncio.Event()
        publishing = asyncio.create_task(publish_until(ended, publisher, hurry=self.stop_requested))
        try:
            await self._wait_for_end(trainer, publishing, heeds_stop_file=plan.heeds_stop_file())
        finally:
            strays = await trainer.kill()
            if strays:
                log.error("trainer.strays", pids=sorted(strays))
            ended.set()
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                publishing.cancel()
        try:
            await publishing
        except ValueError as error:  # the trainer wrote garbage
            return Ending(Reason.TRAINER_CRASHED, str(error))
        if self.stop_requested.is_set() and self.run_directory.read_result() is None:
            return Ending(Reason.CANCELLED_BY_USER, "ended by force")
        return judge(
            self.run_directory.read_result(), trainer.exit_code(), trainer.last_log_lines()
        )

    async def _wait_for_end(
        self, trainer: Trainer, publishing: asyncio.Task[None], *, heeds_stop_file: bool
    ) -> None:
        """Return when the trainer has ended, or is to be killed: stop file, SIGTERM, SIGKILL."""
        grace_seconds = self.settings.stop_grace_seconds if heeds_stop_file else 0.0
        asked_at: float | None = None
        termed_at: float | None = None
        while trainer.is_running() and not publishing.done():
            now = time.monotonic()
            if self.stop_requested.is_set() and asked_at is None:
                self.run_directory.request_stop()
                asked_at = now
            if asked_at is not None and termed_at is None and now >= asked_at + grace_seconds:
                trainer.terminate()
                termed_at = now
            if termed_at is not None and now > termed_at + TERM_SECONDS:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _start(self) -> None:
        write = attempts.fenced_write(self.database, self.attempt_id, self.fence)
        async with write as (session, attempt):
            await attempts.start(session, attempt)

    async def _close(self, ending: Ending, prepared: PreparedDataset | None) -> None:
        write = attempts.fenced_write(self.database, self.attempt_id, self.fence)
        async with write as (session, attempt):
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


async def publish_until(
    ended: asyncio.Event, publisher: Publisher, *, hurry: asyncio.Event
) -> None:
    """Publish what appears until the trainer has ended, and then what is left.

    Raises:
        ValueError: the trainer wrote a line that is not one of progress.
        DatabaseUnavailable, StorageUnavailable: for longer than is worth the slots; that is
            not long once the user wants the job to stop (`hurry`).
    """
    while not ended.is_set():
        try:
            await publisher.publish_new()
        except (DatabaseUnavailable, StorageUnavailable) as error:
            log.warning("publish.postponed", error=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), LOOK_SECONDS)
    seconds = HURRIED_SECONDS if hurry.is_set() else PATIENCE_SECONDS
    await patiently(publisher.publish_rest, patience_seconds=seconds)


def judge(result: Result | None, exit_code: int | None, log_lines: str) -> Ending:
    """Return how the attempt ended: what `result.json` says, and only without one the exit code."""
    if result is None:
        message = f"the trainer ended with exit code {exit_code} and left no result"
        return Ending(Reason.TRAINER_CRASHED, f"{message}\n{log_lines}".strip())
    if result.status == "succeeded":
        values = {"step": result.step, **result.values}
        return Ending(Reason.SUCCEEDED, result.message or "done", values)
    if result.status == "stopped":
        return Ending(Reason.WORKER_LOST, f"stopped at step {result.step}")  # unless cancelled
    message = result.message or "the trainer gave no message"
    if result.reason in (None, ExitReason.LEASE_LOST):
        return Ending(Reason.WORKER_LOST, message)
    return Ending(Reason(result.reason), message)


async def patiently(
    operation: Callable[[], Awaitable[T]], *, patience_seconds: float = PATIENCE_SECONDS
) -> T:
    """Return what the operation returns, trying again while Postgres or the store is away."""
    deadline = time.monotonic() + patience_seconds
    pause = 0.5
    while True:
        try:
            return await operation()
        except (DatabaseUnavailable, StorageUnavailable) as error:
            if time.monotonic() + pause > deadline:
                raise
            log.warning("commit.postponed", error=str(error))
        await asyncio.sleep(pause)
        pause = min(2 * pause, 10.0)
