"""The node's agent: registers the node, claims what was placed on it, starts and checks runners."""

import asyncio
import contextlib
import fcntl
import os
import subprocess
import sys
import threading
from importlib.metadata import version

import structlog

from nvae_core.run_directory import RunDirectory
from services.adapters.ids import new_id
from services.adapters.postgres import attempts, nodes
from services.adapters.postgres.attempts import Ending
from services.adapters.postgres.database import Database, DatabaseUnavailable, notify_queue
from services.adapters.postgres.tables import Attempt, Node
from services.adapters.processes import kill_marked
from services.domain.statuses import Reason
from services.settings import DatabaseSettings, LeaseSettings, WorkerSettings
from services.worker.runner import attempt_folder, drop_large_files, is_runner_alive
from services.worker.slots import take_inventory
from services.worker.trainer import attempt_marker

log = structlog.get_logger()


class NodeAgent:
    """Looks at Postgres when the doorbell rings, and every few seconds without it."""

    def __init__(self, settings: WorkerSettings, database: Database, lease: LeaseSettings) -> None:
        self._settings = settings
        self._database = database
        self._lease = lease
        self._rung = asyncio.Event()
        self._runners: dict[str, subprocess.Popen[bytes]] = {}  # by attempt id
        self.node_id = ""

    async def register(self) -> str:
        """Announce this node and its slots; return the node's id."""
        inventory = await asyncio.to_thread(take_inventory, self._settings)
        node = Node(
            id=new_id("node"),
            name=self._settings.node_name,
            address=self._settings.address,
            version=version("nvae-service"),
            slot_kind=inventory.kind,
            num_slots=inventory.num_slots,
        )
        async with self._database.transaction() as session:
            self.node_id = await nodes.register(session, node, lease_seconds=self._lease.seconds)
            await notify_queue(session)
        log.info("node.registered", node_id=self.node_id, num_slots=inventory.num_slots)
        return self.node_id

    def ring(self) -> None:
        """Look now instead of at the next poll."""
        self._rung.set()

    async def run(self) -> None:
        """Renew the node's lease and look, until cancelled."""
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
        """Renew the lease, claim and launch what is new, and close what has no runner any more."""
        async with self._database.transaction() as session:
            await nodes.renew(session, self.node_id, lease_seconds=self._lease.seconds)
            claimed = await attempts.claim(session, self.node_id, lease_seconds=self._lease.seconds)
        for attempt in claimed:
            try:
                self._launch(attempt)
            except OSError as error:
                await self._close(attempt, Ending(Reason.RUNNER_FAILED, f"no runner: {error}"))
        async with self._database.transaction() as session:
            live = await nodes.live_attempts(session, self.node_id)
        for attempt in live:
            if self._is_lost(attempt):
                await self._close_lost(attempt)
        live_ids = {attempt.id for attempt in live}
        self._runners = {
            attempt_id: runner
            for attempt_id, runner in self._runners.items()
            if runner.poll() is None or attempt_id in live_ids
        }

    def _launch(self, attempt: Attempt) -> None:
        folder = attempt_folder(self._settings.data_folder, attempt.id)
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "services.worker.runner", attempt.id, str(attempt.fence)]
        with (
            (folder / "runner.log").open("ab") as output,
            (folder / "runner.lock").open("w") as lock,
        ):
            # The runner inherits the lock and holds it for life: there is no moment without it.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._runners[attempt.id] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
        log.info("attempt.claimed", attempt_id=attempt.id, job_id=attempt.job_id)

    def _is_lost(self, attempt: Attempt) -> bool:
        runner = self._runners.get(attempt.id)
        if runner is not None:
            return runner.poll() is not None
        # Started by a worker before this one: its lock says whether it lives.
        return not is_runner_alive(self._settings.data_folder, attempt.id)

    async def _close_lost(self, attempt: Attempt) -> None:
        await asyncio.to_thread(kill_marked, attempt_marker(attempt.id, attempt.fence))
        log.warning("attempt.lost", attempt_id=attempt.id, job_id=attempt.job_id)
        name = self._settings.node_name
        await self._close(attempt, Ending(Reason.WORKER_LOST, f"the runner on {name} died"))
        folder = attempt_folder(self._settings.data_folder, attempt.id)
        await asyncio.to_thread(drop_large_files, RunDirectory(folder / "run"))

    async def _close(self, attempt: Attempt, ending: Ending) -> None:
        await attempts.close_if_live(self._database, attempt.id, attempt.fence, ending)


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
