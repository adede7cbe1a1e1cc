"""The node's agent: registers the node, claims what was placed on it, starts and checks runners."""

import asyncio
import contextlib
import os
import shutil
import threading
import time
from importlib.metadata import version

import structlog

from nvae_core.run_directory import RunDirectory
from services.database import attempts, completion, jobs, nodes
from services.database.attempts import Claim
from services.database.completion import Outcome
from services.database.session import Database, DatabaseUnavailable, new_id, notify_queue
from services.database.tables import Node
from services.domain.states import Reason
from services.processes import kill_marked
from services.settings import BuildSettings, DatabaseSettings, LeaseSettings, WorkerSettings
from services.telemetry import tracing
from services.worker.folders import (
    attempt_folder,
    delete_old_folders,
    drop_large_files,
    held_attempts,
    is_runner_alive,
    kill_attempt,
)
from services.worker.node.launcher import Launcher
from services.worker.publish.rank_spans import record_rank_spans
from services.worker.sampler.process import SamplerProcesses
from services.worker.slots import SlotInventory, gpu_inventory, take_inventory
from services.worker.trainer.process import attempt_marker

CLEAN_SECONDS = 600.0
LOOK_AT_GPUS_SECONDS = 60.0
DRIVER_ANSWERS_SECONDS = 30.0
log = structlog.get_logger()


class NodeAgent:
    """Looks at Postgres when the doorbell rings, and every few seconds without it."""

    def __init__(self, settings: WorkerSettings, database: Database, lease: LeaseSettings) -> None:
        self._settings = settings
        self._database = database
        self._lease = lease
        self._rung = asyncio.Event()
        self._name = settings.node_name
        self._launcher = Launcher(settings)
        self._residents = SamplerProcesses(settings)
        self._stale_since: dict[str, float] = {}
        self._clean_at = 0.0
        self._asking_driver: asyncio.Task[SlotInventory] | None = None
        self._inventory: SlotInventory | None = None
        self.node_id = ""

    async def register(self) -> str:
        """Announce this node and its slots; return the node's id."""
        return await self._register(await self._take_inventory())

    async def _take_inventory(self) -> SlotInventory:
        """Return what there is; a driver that hangs is asked no second time meanwhile."""
        asking = self._asking_driver
        if asking is None:
            asking = asyncio.create_task(asyncio.to_thread(take_inventory, self._settings))
            self._asking_driver = asking
        done, _ = await asyncio.wait({asking}, timeout=DRIVER_ANSWERS_SECONDS)
        if not done:
            fault = f"the driver has not answered for {DRIVER_ANSWERS_SECONDS:.0f} s"
            return gpu_inventory((), (fault,))
        self._asking_driver = None
        return asking.result()

    async def _register(self, inventory: SlotInventory) -> str:
        node = Node(
            id=new_id("node"),
            name=self._settings.node_name,
            address=str(self._settings.address) if self._settings.address else None,
            version=BuildSettings().version or version("nvae-service"),
            slot_kind=inventory.kind,
            num_slots=inventory.num_slots,
            memory_bytes=inventory.memory_bytes,
            labels=self._settings.labels,
        )
        async with self._database.transaction() as session:
            self.node_id = await nodes.register(
                session, node, lease_seconds=self._lease.seconds, devices=inventory.devices
            )
            await notify_queue(session)
        self._inventory = inventory
        log.info(
            "node.registered",
            node_id=self.node_id,
            slot_kind=inventory.kind,
            num_slots=inventory.num_slots,
        )
        for fault in inventory.faults:
            log.error("node.gpu_failed", fault=fault)
        return self.node_id

    def ring(self) -> None:
        """Look now instead of at the next poll."""
        self._rung.set()

    async def run(self) -> None:
        """Renew the node's lease and look, until cancelled."""
        await asyncio.to_thread(self._launcher.start)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_until_cancelled())
            tasks.create_task(self._look_at_gpus_until_cancelled())

    async def _look_at_gpus_until_cancelled(self) -> None:
        """Offer GPUs no more that are lost, and again when they are back."""
        while True:
            await asyncio.sleep(LOOK_AT_GPUS_SECONDS)
            try:
                await self.look_at_gpus()
            except DatabaseUnavailable as error:
                log.warning("node.database_away", error=str(error))

    async def look_at_gpus(self) -> None:
        """Register again if the GPUs are not those that this node has registered with."""
        try:
            inventory = await self._take_inventory()
        except ValueError as error:  # fewer GPUs than NVAE_WORKER_SLOTS, and none that fails
            inventory = gpu_inventory((), (str(error),))
        if inventory != self._inventory:
            await self._register(inventory)

    async def _look_until_cancelled(self) -> None:
        interval = min(self._settings.poll_seconds, self._lease.renew_seconds)
        while True:
            self._rung.clear()
            try:
                await self.look()
            except DatabaseUnavailable as error:
                log.warning("node.database_away", error=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._rung.wait(), interval)

    async def look(self) -> None:
        """Renew the lease, claim and launch what is new, and end what should not be there."""
        disk = await asyncio.to_thread(self._look_at_disk)
        async with self._database.transaction() as session:
            await nodes.renew(session, self.node_id, lease_seconds=self._lease.seconds, disk=disk)
            claimed = await attempts.claim(session, self.node_id, lease_seconds=self._lease.seconds)
            placed = [
                await jobs.placement_traceparent(session, claim.attempt_id) for claim in claimed
            ]
        if claimed:
            await self._vacate()
        for claim, parent in zip(claimed, placed, strict=True):
            with tracing.span("claim attempt", parent=parent, attributes=self._described(claim)):
                await self._launch(claim)
        async with self._database.transaction() as session:
            live = await nodes.live_claims(session, self.node_id)
        for claim in live:
            if not is_runner_alive(self._settings.data_folder, claim.attempt_id):
                await self._finish_lost(claim)
        await asyncio.to_thread(self._residents.start_wanted)
        await self._end_stale({claim.attempt_id for claim in live})
        if time.monotonic() >= self._clean_at:
            self._clean_at = time.monotonic() + CLEAN_SECONDS
            await asyncio.to_thread(delete_old_folders, self._settings, now=time.time())

    async def _launch(self, claim: Claim) -> None:
        log.info("attempt.claimed", attempt_id=claim.attempt_id)
        try:
            await asyncio.to_thread(self._launcher.launch, claim)
        except OSError as error:
            outcome = Outcome(Reason.RUNNER_FAILED, f"no runner on {self._name}: {error}")
            tracing.fail(tracing.current(), outcome.message)
            await completion.finish_if_live(self._database, claim, outcome)

    def _look_at_disk(self) -> nodes.Disk | None:
        try:
            usage = shutil.disk_usage(self._settings.data_folder)
        except OSError:  # the lease is more than this
            return None
        return nodes.Disk(usage.total, usage.free)

    async def _vacate(self) -> None:
        """End what still runs of attempts that have ended: their slots were given to others."""
        async with self._database.transaction() as session:
            live = await nodes.live_claims(session, self.node_id)
        held = await asyncio.to_thread(held_attempts, self._settings.data_folder)
        for attempt_id in held - {claim.attempt_id for claim in live}:
            await self._kill_stale(attempt_id)

    async def _finish_lost(self, claim: Claim) -> None:
        await asyncio.to_thread(kill_marked, attempt_marker(claim))
        outcome = Outcome(Reason.WORKER_LOST, f"the runner on {self._name} died")
        parent = await self._placement_of(claim)
        with tracing.span("find lost", parent=parent, attributes=self._described(claim)) as span:
            tracing.fail(span, outcome.message)
            log.warning("attempt.lost", attempt_id=claim.attempt_id)
            await completion.finish_if_live(self._database, claim, outcome)
        # The runner's own spans are lost with it; those of its ranks are in the run directory.
        await asyncio.to_thread(
            record_rank_spans, self._run_directory(claim.attempt_id), parent=parent
        )
        await self._drop_files(claim.attempt_id)

    async def _placement_of(self, claim: Claim) -> str | None:
        """Return the `traceparent` of a claim's placement."""
        if not tracing.is_on():
            return None
        async with self._database.transaction() as session:
            return await jobs.placement_traceparent(session, claim.attempt_id)

    async def _end_stale(self, live_ids: set[str]) -> None:
        """Kill runners that are still there long after their attempt has ended: they hang."""
        now = time.monotonic()
        held = await asyncio.to_thread(held_attempts, self._settings.data_folder)
        stale = held - live_ids
        self._stale_since = {
            attempt_id: self._stale_since.get(attempt_id, now) for attempt_id in stale
        }
        for attempt_id, since in self._stale_since.items():
            if now - since > self._lease.seconds:
                await self._kill_stale(attempt_id)

    async def _kill_stale(self, attempt_id: str) -> None:
        log.warning("runner.killed", attempt_id=attempt_id)
        await asyncio.to_thread(kill_attempt, self._settings.data_folder, attempt_id)
        await self._drop_files(attempt_id)

    async def _drop_files(self, attempt_id: str) -> None:
        await asyncio.to_thread(drop_large_files, self._run_directory(attempt_id))

    def _run_directory(self, attempt_id: str) -> RunDirectory:
        return RunDirectory(attempt_folder(self._settings.data_folder, attempt_id) / "run")

    def _described(self, claim: Claim) -> tracing.Attributes:
        """Return what a span tells of a claim."""
        return {
            "nvae.attempt.id": claim.attempt_id,
            "nvae.node.name": self._name,
            "nvae.node.rank": claim.node_rank,
        }


class AgentThread:
    """Runs an agent on an event loop of its own, beside Celery in the main thread."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="node-agent", daemon=True)
        self._agent: NodeAgent | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> str:
        """Register the node, waiting for Postgres if need be, and return its id."""
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    def ring(self) -> None:
        """Pass a doorbell on to the agent; safe from any thread."""
        if self._agent is not None:
            self._loop.call_soon_threadsafe(self._agent.ring)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _start(self) -> str:
        database = Database(DatabaseSettings())
        agent = self._agent = NodeAgent(self._settings, database, LeaseSettings())
        while True:
            try:
                node_id = await agent.register()
                break
            except DatabaseUnavailable as error:
                log.warning("node.database_away", error=str(error))
                await asyncio.sleep(1)
        self._task = asyncio.create_task(agent.run())
        self._task.add_done_callback(_exit_on_failure)
        return node_id


def _exit_on_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        # A worker without its agent would look alive and do nothing: let it be started anew.
        log.critical("agent.failed", exc_info=task.exception())
        os._exit(1)
