"""One attempt's work: fetch the inputs, run the trainer, publish, and say how it ended."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from nvae_core.run_directory import ExitReason, Result, RunDirectory, is_disk_full
from services.adapters.postgres import attempts, endings, results
from services.adapters.postgres.attempts import Claim
from services.adapters.postgres.database import Database, DatabaseUnavailable
from services.adapters.postgres.endings import Ending
from services.adapters.s3_storage import S3Storage, StorageUnavailable
from services.domain.errors import InvalidSpec, LeaseLost
from services.domain.statuses import Reason
from services.settings import WorkerSettings
from services.worker.assignment import Assignment
from services.worker.gangs import Gang, PortInUse
from services.worker.inputs import CorruptInput, InputCache
from services.worker.lease import HeardOrders
from services.worker.publishing import Publisher
from services.worker.slots import take_inventory
from services.worker.sources import SourceLocator, staging_folder
from services.worker.stalls import StallWatch, dump_stacks
from services.worker.trainer import TERM_SECONDS, Trainer, TrainerPlan, attempt_marker
from services.worker.uploads import PreparedDataset

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
    claim: Claim
    orders: HeardOrders

    async def run(self) -> None:
        """Do the work and commit its end.

        Raises:
            LeaseLost: the attempt is not live any more; nothing was committed after that.
            DatabaseUnavailable: Postgres was away for too long.
        """
        prepared = None
        publisher = self._publisher()
        try:
            ending = await self._work(publisher)
            if ending and ending.reason == Reason.SUCCEEDED and self.run_directory.dataset.exists():
                prepared = await patiently(publisher.upload_dataset)
        except (LeaseLost, DatabaseUnavailable):
            raise
        except Exception as error:
            ending = self._ending_of(error)
        await patiently(lambda: self._finish(ending, prepared))
        if ending is not None:
            log.info("attempt.finished", reason=ending.reason, message=ending.message)

    async def _work(self, publisher: Publisher) -> Ending | None:
        """Get ready, train, publish; None means that another node knows how it ended."""
        preparing = asyncio.create_task(self._prepare())
        stopping = asyncio.create_task(self.orders.stop_requested.wait())
        try:  # a stop does not wait for a download
            await asyncio.wait((preparing, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not preparing.done():
                return self._stopped("stopped before the trainer started")
            plan = preparing.result()
            await patiently(self._make_ready)
            going = asyncio.create_task(self.orders.go.wait())
            await asyncio.wait((going, stopping), return_when=asyncio.FIRST_COMPLETED)
            going.cancel()
            if not self.orders.go.is_set():
                return self._stopped("stopped before the trainer started")
        finally:
            preparing.cancel()
            stopping.cancel()
        return await self._train(plan, publisher)

    async def _prepare(self) -> TrainerPlan:
        """Fetch the inputs and write `config.json`."""
        cache = InputCache(
            self.settings.data_folder / "inputs",
            self.storage,
            budget_bytes=self.settings.cache_bytes,
        )
        staging = staging_folder(self.run_directory)
        sources = SourceLocator(self.settings, staging, self.storage)
        config = await asyncio.to_thread(self.assignment.configure, cache, sources)
        self.run_directory.create(config)
        if self.assignment.gang:
            self.assignment.gang.check_port()
        return await asyncio.to_thread(self._plan)

    async def _make_ready(self) -> None:
        async with self.database.transaction() as session:
            self.orders.hear(await attempts.make_ready(session, self.claim))

    async def _train(self, plan: TrainerPlan, publisher: Publisher) -> Ending | None:
        trainer = Trainer(plan)
        stall: str | None = None
        ended = asyncio.Event()
        publishing = asyncio.create_task(
            publish_until(ended, publisher, hurry=self.orders.stop_requested)
        )
        try:
            stall = await self._wait_for_end(trainer, publishing, plan)
            if stall is not None:
                await asyncio.to_thread(dump_stacks, self.run_directory, plan.marker)
        finally:
            strays = await trainer.kill()
            if strays:
                log.error("trainer.strays", pids=sorted(strays))
            ended.set()
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                publishing.cancel()
        try:
            await publishing
        except ValueError as error:  # the trainer wrote garbage, after these
            await publish_last(publisher.publish_files, hurry=self.orders.stop_requested)
            return Ending(Reason.TRAINER_CRASHED, str(error))
        if stall is not None:
            await patiently(publisher.publish_stacks)
            return Ending(Reason.STALLED, stall)
        result = self.run_directory.read_result()
        if self.orders.stop_requested.is_set() and (result is None or result.status == "stopped"):
            step = f"stopped at step {result.step}" if result else "ended by force"
            return self._stopped(step)
        return judge(
            result, trainer.exit_code(), trainer.last_log_lines(), gang=self.assignment.gang
        )

    def _stopped(self, message: str) -> Ending | None:
        """Return the ending of an attempt that was told to stop."""
        assert self.orders.reason is not None
        if attempts.is_failure(self.orders.reason):
            return None  # of another node, which has said why
        return Ending(self.orders.reason, message) if self.claim.node_rank == 0 else None

    def _ending_of(self, error: Exception) -> Ending:
        """Say to the user what went wrong around the trainer."""
        if isinstance(error, InvalidSpec):
            return Ending(Reason.INVALID_DATASET, error.message)
        if isinstance(error, CorruptInput):
            return Ending(error.reason, str(error))
        if isinstance(error, PortInUse):
            return Ending(Reason.PORT_IN_USE, str(error))
        if isinstance(error, StorageUnavailable):
            return Ending(Reason.STORAGE_UNAVAILABLE, f"the object store failed: {error}")
        # A full disk, a fork that failed, a defect.
        log.error("runner.failed", exc_info=error)
        reason = Reason.DISK_FULL if is_disk_full(error) else Reason.RUNNER_FAILED
        return Ending(reason, f"the runner failed: {error!r}")

    async def _wait_for_end(
        self, trainer: Trainer, publishing: asyncio.Task[None], plan: TrainerPlan
    ) -> str | None:
        """Return when the trainer has ended or is to be killed; where it hangs, if it does.

        A stop goes by the stop file, then SIGTERM, then SIGKILL; if it is forced, SIGKILL at once.
        """
        grace_seconds = self.settings.stop_grace_seconds if plan.heeds_stop_file() else 0.0
        stalls = StallWatch(
            self.run_directory, self.settings.stall_seconds, self.settings.phase_stall_seconds
        )
        asked_at: float | None = None
        termed_at: float | None = None
        while trainer.is_running() and not publishing.done():
            now = time.monotonic()
            if self.orders.forced:
                break
            if stall := stalls.look(now):
                return stall
            if self.orders.stop_requested.is_set() and asked_at is None:
                self.run_directory.request_stop()
                asked_at = now
            if asked_at is not None and termed_at is None and now >= asked_at + grace_seconds:
                trainer.terminate()
                termed_at = now
            if termed_at is not None and now > termed_at + TERM_SECONDS:
                break
            await asyncio.sleep(LOOK_SECONDS)
        return None

    async def _finish(self, ending: Ending | None, prepared: PreparedDataset | None) -> None:
        async with attempts.fenced_write(self.database, self.claim) as (session, attempt):
            if prepared is not None and self.assignment.dataset_id is not None:
                await results.publish_dataset(
                    session,
                    self.assignment.dataset_id,
                    description=prepared.description,
                    prefix=prepared.prefix,
                    files=prepared.files,
                )
            await endings.finish(session, attempt, ending, node_rank=self.claim.node_rank)

    def _plan(self) -> TrainerPlan:
        return TrainerPlan(
            kind=self.assignment.spec.kind,
            run_directory=self.run_directory,
            marker=attempt_marker(self.claim),
            slots=self.assignment.slots,
            slot_kind=self.assignment.slot_kind,
            threads_per_slot=take_inventory(self.settings).threads_per_slot,
            gang=self.assignment.gang,
        )

    def _publisher(self) -> Publisher:
        return Publisher(
            self.database,
            self.storage,
            self.run_directory,
            job_id=self.assignment.job_id,
            claim=self.claim,
            attempt_number=self.assignment.attempt_number,
        )


async def publish_until(
    ended: asyncio.Event, publisher: Publisher, *, hurry: asyncio.Event
) -> None:
    """Publish what appears until the trainer has ended, and then what is left.

    Raises:
        ValueError: the trainer wrote a line that is not one of progress.
        LeaseLost: the attempt is not live any more.
        DatabaseUnavailable, StorageUnavailable: for longer than is worth the slots; that is
            not long once the user wants the job to stop (`hurry`).
    """
    lines = asyncio.create_task(_follow(publisher.publish_new, ended))
    files = asyncio.create_task(_follow(publisher.publish_next_file, ended))
    try:
        done, _ = await asyncio.wait((lines, files), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # raises what ended it
        await lines
        # A file that is on its way now is waited for by the rest, which comes after it.
        await publish_last(publisher.publish_rest, hurry=hurry)
    finally:
        lines.cancel()
        files.cancel()
        await asyncio.gather(lines, files, return_exceptions=True)


async def _follow(publish: Callable[[], Awaitable[int]], ended: asyncio.Event) -> None:
    """Publish until the trainer has ended, again and again; without a pause while there is more."""
    while not ended.is_set():
        try:
            if await publish():
                continue
        except (DatabaseUnavailable, StorageUnavailable) as error:
            log.warning("publish.postponed", error=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), LOOK_SECONDS)


async def publish_last(publish: Callable[[], Awaitable[None]], *, hurry: asyncio.Event) -> None:
    """Publish what is left after the trainer has ended; errors as those of `publish_until`."""
    seconds = HURRIED_SECONDS if hurry.is_set() else PATIENCE_SECONDS
    try:
        async with asyncio.timeout(PATIENCE_SECONDS) as limit:
            await patiently(publish, patience_seconds=seconds)
    except TimeoutError as error:
        if not limit.expired():
            raise
        # A store that takes bytes, but too slowly, must not keep the slots for ever.
        message = f"not all files could be stored within {PATIENCE_SECONDS:.0f} s"
        raise StorageUnavailable(message) from error


def judge(
    result: Result | None, exit_code: int | None, log_lines: str, *, gang: Gang | None = None
) -> Ending | None:
    """Return how the attempt ended: what `result.json` says, and only without one the exit code.

    None means that this node has nothing to say: rank 0 is on another one, and all went well here.
    """
    if result is None and exit_code == 0 and gang is not None and gang.node_rank > 0:
        return None
    if result is None:
        message = f"the trainer ended with exit code {exit_code} and left no result"
        return Ending(Reason.TRAINER_CRASHED, f"{message}\n{log_lines}".strip())
    if result.status == "succeeded":
        values = {"step": result.step, **result.values}
        return Ending(Reason.SUCCEEDED, result.message or "done", values)
    reason = Reason.WORKER_LOST  # something else than its runner has ended it
    if result.reason not in (None, ExitReason.STOPPED, ExitReason.LEASE_LOST):
        reason = Reason(result.reason)
    if reason == Reason.PEER_LOST and gang is None:
        reason = Reason.TRAINER_CRASHED  # the other rank was here as well
    message = result.message or f"{result.status} at step {result.step}"
    return Ending(reason, message)


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
