"""One attempt's work: fetch the inputs, run the trainer, publish, and say how it ended."""

import asyncio
import contextvars
import time
from dataclasses import dataclass, replace

import structlog

from nvae_core.run_directory import RunDirectory
from services.database import attempts, completion, datasets, jobs, nodes
from services.database.attempts import Claim
from services.database.completion import Outcome
from services.database.session import Database, DatabaseUnavailable
from services.domain.errors import LeaseLost
from services.domain.states import Reason
from services.settings import WorkerSettings
from services.storage.s3 import S3Storage
from services.telemetry import tracing
from services.worker.inputs.cache import InputCache
from services.worker.inputs.sources import SourceLocator, staging_folder
from services.worker.publish.publisher import LOOK_SECONDS, Publisher, publish_last, publish_until
from services.worker.publish.rank_spans import record_rank_spans
from services.worker.publish.uploads import PreparedDataset
from services.worker.retry import retry_outages
from services.worker.runner.assignment import Assignment
from services.worker.runner.lease import HeardOrders
from services.worker.runner.outcome import outcome_of_error, outcome_of_run
from services.worker.sampler.client import release_gpus, start_sampling
from services.worker.slots import usable_cores
from services.worker.trainer.process import (
    TERM_SECONDS,
    RunningTrainer,
    Trainer,
    TrainerPlan,
    attempt_marker,
)
from services.worker.trainer.watchdogs import DiskShare, StallWatch, dump_stacks

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
            outcome = await self._work(publisher)
            if (
                outcome
                and outcome.reason == Reason.SUCCEEDED
                and self.run_directory.dataset.exists()
            ):
                prepared = await retry_outages(publisher.upload_dataset)
        except (LeaseLost, DatabaseUnavailable):
            raise
        except Exception as error:
            failure = self._located(outcome_of_error(error))
            outcome = failure
            if self.orders.stop_requested.is_set():  # that is why, whatever went wrong after it
                outcome = self._stopped(failure.message)
        with tracing.span("finish attempt"):
            await retry_outages(lambda: self._finish(outcome, prepared))
        if outcome is not None:
            self._describe_end(outcome)
            log.info("attempt.finished", reason=outcome.reason, message=outcome.message)

    def _describe_end(self, outcome: Outcome) -> None:
        span = tracing.current()
        tracing.describe(span, {"nvae.reason": outcome.reason})
        if attempts.is_failure(outcome.reason):
            tracing.fail(span, outcome.message)

    async def _work(self, publisher: Publisher) -> Outcome | None:
        """Get ready, train, publish; None means that another node knows how it ended."""
        preparing = asyncio.create_task(self._prepare_traced())
        stopping = asyncio.create_task(self.orders.stop_requested.wait())
        try:  # a stop does not wait for a download
            await asyncio.wait((preparing, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not preparing.done():
                return self._stopped("stopped before the trainer started")
            plan = preparing.result()
            with tracing.span("wait for go"):
                await retry_outages(self._make_ready)
                going = asyncio.create_task(self.orders.go.wait())
                await asyncio.wait((going, stopping), return_when=asyncio.FIRST_COMPLETED)
                going.cancel()
            if not self.orders.go.is_set():
                return self._stopped("stopped before the trainer started")
        finally:
            preparing.cancel()
            stopping.cancel()
        return await self._train(plan, publisher)

    async def _prepare_traced(self) -> TrainerPlan:
        with tracing.span("fetch inputs"):
            return await self._prepare()

    async def _prepare(self) -> TrainerPlan:
        """Fetch the inputs and write `config.json`."""
        cache = InputCache(
            self.settings.data_folder / "inputs",
            self.storage,
            budget_bytes=self.settings.cache_bytes,
        )
        staging = staging_folder(self.run_directory)
        sources = SourceLocator(self.settings, staging, self.storage)
        config = await retry_outages(
            lambda: asyncio.to_thread(self.assignment.configure, cache, sources)
        )
        self.run_directory.create(config)
        if self.assignment.gang:
            self.assignment.gang.check_port()
        return self._plan()

    async def _look(self) -> None:
        async with self.database.transaction() as session:
            self.orders.hear(await attempts.look(session, self.claim))

    async def _make_ready(self) -> None:
        async with self.database.transaction() as session:
            self.orders.hear(await attempts.make_ready(session, self.claim))

    async def _train(self, plan: TrainerPlan, publisher: Publisher) -> Outcome | None:
        attempt = contextvars.copy_context()  # what is published is a part of it, in the trace
        with tracing.span("run trainer"):
            traceparent = tracing.traceparent()
            plan = replace(plan, traceparent=traceparent)
            warm = await asyncio.to_thread(self._try_warm, plan)
            trainer = warm or Trainer(plan)  # from the main thread
            watched: Outcome | None = None
            ended = asyncio.Event()
            publishing = asyncio.create_task(
                publish_until(ended, publisher, cancelled=self.orders.cancelled), context=attempt
            )
            try:
                watched = await self._wait_for_end(trainer, publishing, plan)
                if watched is not None:
                    await asyncio.to_thread(dump_stacks, self.run_directory, plan.marker)
            finally:
                leftover = await trainer.kill()
                ended.set()
                if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                    publishing.cancel()
        if leftover:
            log.error("trainer.not_killed", pids=sorted(leftover))
            await retry_outages(self._cordon)
        outcome = watched or await self._judge(trainer)
        if outcome is not None:
            outcome = self._located(outcome)
        await self._tell_others(outcome, publishing)
        await asyncio.to_thread(record_rank_spans, self.run_directory, parent=traceparent)
        try:
            await self._wait_unless_forced(publishing)
        except ValueError as error:  # the trainer wrote garbage, after these
            await publish_last(publisher.publish_files, cancelled=self.orders.cancelled)
            return self._located(Outcome(Reason.TRAINER_CRASHED, str(error)))
        if watched is not None:
            await retry_outages(publisher.publish_stacks)
        return outcome

    def _try_warm(self, plan: TrainerPlan) -> RunningTrainer | None:
        """Let a resident sampler do it, if it can; for all else it leaves its GPU."""
        warm = None
        # A checkpoint that ends the resident would do so again: a second attempt does without.
        is_first = self.assignment.attempt_number == 1
        has_resident = self.settings.sampler_bytes > 0 and plan.given_command is None
        if plan.kind == "sample" and is_first and has_resident:
            warm = start_sampling(plan, self.settings.data_folder)
        elif plan.slot_kind == "gpu":
            release_gpus(self.settings.data_folder, plan.slots)
        return warm

    async def _judge(self, trainer: RunningTrainer) -> Outcome | None:
        result = self.run_directory.read_result()
        if result is not None and result.status == "stopped":
            await retry_outages(self._look)  # another node's runner may have heard of it first
        if self.orders.stop_requested.is_set() and (result is None or result.status == "stopped"):
            step = f"stopped at step {result.step}" if result else "ended by force"
            return self._stopped(step)
        return outcome_of_run(
            result,
            trainer.exit_code(),
            trainer.last_log_lines(),
            gang=self.assignment.gang,
            torchrun_log=trainer.torchrun_log(),
            without_result=trainer.reason_without_result,
        )

    def _stopped(self, message: str) -> Outcome | None:
        """Return the outcome of an attempt that was told to stop."""
        assert self.orders.reason is not None
        if attempts.is_failure(self.orders.reason):
            return None  # of another node, which has said why
        return Outcome(self.orders.reason, message) if self.claim.node_rank == 0 else None

    def _located(self, outcome: Outcome) -> Outcome:
        """Return the outcome with the name of the node, where the nodes may end differently."""
        if self.assignment.gang is None or not attempts.is_failure(outcome.reason):
            return outcome
        return replace(outcome, message=f"on {self.settings.node_name}: {outcome.message}")

    async def _tell_others(self, outcome: Outcome | None, publishing: asyncio.Task[None]) -> None:
        """Report a failure before what is left is uploaded: the other nodes wait in vain."""
        if self.assignment.gang is None or publishing.done() or outcome is None:
            return
        if attempts.is_failure(outcome.reason):
            await retry_outages(lambda: self._report(outcome))

    async def _report(self, outcome: Outcome) -> None:
        async with attempts.fenced_write(self.database, self.claim) as (session, attempt):
            member = await attempts.find_member(session, self.claim)
            job = await jobs.find(session, attempt.job_id)
            completion.report(job, attempt, outcome, node_id=member.node_id)

    async def _cordon(self) -> None:
        """Keep others off a node on which processes cannot be killed: they hold its devices."""
        async with attempts.fenced_write(self.database, self.claim) as (session, _):
            member = await attempts.find_member(session, self.claim)
            await nodes.cordon(session, member.node_id, cordoned=True)

    async def _wait_unless_forced(self, publishing: asyncio.Task[None]) -> None:
        """Wait until all is published; a user who cancels by force does not want it any more."""
        forcing = asyncio.create_task(self.orders.abandoned.wait())
        try:
            await asyncio.wait((publishing, forcing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            forcing.cancel()
        if publishing.done():
            publishing.result()
        else:
            publishing.cancel()

    async def _wait_for_end(
        self, trainer: RunningTrainer, publishing: asyncio.Task[None], plan: TrainerPlan
    ) -> Outcome | None:
        """Return when the trainer has ended or is to be killed; why, if it hangs or takes too much.

        A stop goes by the stop file, then SIGTERM, then SIGKILL; if it is forced, SIGKILL at once.
        """
        grace_seconds = self.settings.stop_grace_seconds if plan.heeds_stop_file() else 0.0
        stalls = StallWatch(
            self.run_directory,
            self.settings.stall_seconds,
            self.settings.phase_stall_seconds,
            started_at=time.monotonic() if plan.kind in {"train", "evaluate"} else None,
        )
        share = DiskShare.of(
            self.run_directory.path,
            num_slots=len(plan.slots),
            slots_of_node=self.assignment.slots_of_node,
            given=self.settings.run_bytes_per_slot,
        )
        asked_at: float | None = None
        termed_at: float | None = None
        while trainer.is_running() and not publishing.done():
            now = time.monotonic()
            if self.orders.forced:
                break
            if stall := stalls.look(now):
                return Outcome(Reason.STALLED, stall)
            if excess := share.look(now):
                return Outcome(Reason.DISK_FULL, excess)
            if self.orders.stop_requested.is_set() and asked_at is None:
                self.run_directory.request_stop()
                asked_at = now
            if asked_at is not None and termed_at is None and now >= asked_at + grace_seconds:
                trainer.terminate()
                termed_at = now
            if termed_at is not None and now > termed_at + TERM_SECONDS:
                break
            await trainer.pause(LOOK_SECONDS)
        return None

    async def _finish(self, outcome: Outcome | None, prepared: PreparedDataset | None) -> None:
        async with attempts.fenced_write(self.database, self.claim) as (session, attempt):
            if prepared is not None and self.assignment.dataset_id is not None:
                await datasets.publish(
                    session,
                    self.assignment.dataset_id,
                    description=prepared.description,
                    prefix=prepared.prefix,
                    files=prepared.files,
                )
            await completion.finish(session, attempt, outcome, node_rank=self.claim.node_rank)

    def _plan(self) -> TrainerPlan:
        return TrainerPlan(
            kind=self.assignment.spec.kind,
            run_directory=self.run_directory,
            marker=attempt_marker(self.claim),
            slots=self.assignment.slots,
            slot_kind=self.assignment.slot_kind,
            threads_per_slot=max(1, usable_cores() // self.assignment.slots_of_node),
            gang=self.assignment.gang,
            given_command=self.settings.trainer_command,
        )

    def _publisher(self) -> Publisher:
        return Publisher(
            self.database,
            self.storage,
            self.run_directory,
            job_id=self.assignment.job_id,
            claim=self.claim,
            attempt_number=self.assignment.attempt_number,
            first_rank=self.claim.node_rank * len(self.assignment.slots),
        )
