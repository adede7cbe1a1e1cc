"""The first process of a worker's container: `python -m services.worker.node.container`.

A worker that dies is started anew, and its runners go on. SIGTERM drains: the worker ends, then
each runner saves a checkpoint and gives its job back to the queue, and then the container ends.

A node's folder is taken with a lock, and the node's name follows from it: a node keeps its name,
its cache and its logs when its container is replaced, and several containers that share one volume
never are the same node.
"""

import asyncio
import contextlib
import fcntl
import os
import queue
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from services.database import nodes
from services.database.session import Database, DatabaseUnavailable
from services.settings import ContainerSettings, DatabaseSettings, WorkerSettings
from services.telemetry.logging import configure_logging
from services.worker.folders import held_attempts, runner_pid

RESTART_SECONDS = 1.0
LOOK_SECONDS = 0.5
WORKER_STOPS_WITHIN_SECONDS = 10.0
LEAVE_WITHIN_SECONDS = 5.0
log = structlog.get_logger()
CONTAINER_LOCK_NAME = "container.lock"
MAX_NODES = 1000


class Container:
    """Runs the worker of one node, and buries what its processes leave behind."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        # Unlike a threading.Event it may be filled by a handler that interrupts its own reader.
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopping = False
        self._worker: int | None = None

    def run(self) -> int:
        """Keep the worker running until SIGTERM; return the status to exit with."""
        signal.signal(signal.SIGCHLD, lambda *_: self._woken.put(None))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        while True:
            self._start_worker()
            status = self._wait_for_worker()
            if self._stopping:
                self._drain()
                return 0
            log.warning("worker.ended", status=status)
            if status != -signal.SIGKILL and not self._runners():
                return status if status > 0 else 1  # whoever started the container tries again
            time.sleep(RESTART_SECONDS)

    def _stop(self) -> None:
        self._stopping = True
        self._woken.put(None)

    def _start_worker(self) -> None:
        command = [sys.executable, "-m", "services.worker"]
        self._worker = os.posix_spawn(sys.executable, command, os.environ)

    def _wait_for_worker(self) -> int:
        """Return its exit status, negative for a signal; the stop is passed on to it."""
        give_up_at = None
        while (status := self._bury()) is None:
            if self._stopping and self._worker is not None:
                if give_up_at is None:
                    os.kill(self._worker, signal.SIGTERM)
                    give_up_at = time.monotonic() + WORKER_STOPS_WITHIN_SECONDS
                elif time.monotonic() > give_up_at:
                    os.kill(self._worker, signal.SIGKILL)
            with contextlib.suppress(queue.Empty):
                self._woken.get(timeout=LOOK_SECONDS if self._stopping else None)
        return status

    def _bury(self) -> int | None:
        """Reap every child that has ended; return the worker's status if it was among them."""
        worker_status = None
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._worker:
                    self._worker, worker_status = None, os.waitstatus_to_exitcode(ended[1])
        return worker_status

    def _drain(self) -> None:
        """Let no job come, and every runner end in order; how long it may take others decide."""
        log.info("node.draining", runners=len(self._runners()))
        try:
            asyncio.run(_leave(self._settings.node_name))
        except (DatabaseUnavailable, TimeoutError) as error:
            log.warning("node.left_unsaid", error=str(error))
        signalled: set[int] = set()
        while runners := self._runners():
            for pid in runners - signalled:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            signalled |= runners
            time.sleep(LOOK_SECONDS)
            self._bury()
        log.info("node.drained")

    def _runners(self) -> set[int]:
        folder = self._settings.data_folder
        pids = (runner_pid(folder, attempt_id) for attempt_id in held_attempts(folder))
        return {pid for pid in pids if pid is not None}


async def _leave(node_name: str) -> None:
    database = Database(DatabaseSettings())
    async with asyncio.timeout(LEAVE_WITHIN_SECONDS), database.transaction() as session:
        await nodes.leave(session, node_name)
    await database.close()


def main() -> int:
    """Find out which node this is, and run it."""
    configure_logging("container")
    container = ContainerSettings()
    if container.nodes_folder is not None:
        node = take_node(container.nodes_folder, container.node_name)
        os.environ["NVAE_WORKER_NODE_NAME"] = node.name
        os.environ["NVAE_WORKER_DATA_FOLDER"] = str(node.folder)
    settings = WorkerSettings()
    settings.data_folder.mkdir(parents=True, exist_ok=True)
    os.environ["NVAE_WORKER_DATA_FOLDER"] = str(settings.data_folder.resolve())
    os.chdir(settings.data_folder)  # where the health check looks
    return Container(settings).run()


@dataclass(frozen=True)
class TakenNode:
    """A node that is this process' for as long as it lives."""

    name: str
    folder: Path
    lock: int  # file descriptor


def take_node(nodes_folder: Path, name: str) -> TakenNode:
    """Take the first node that no other container holds.

    Raises:
        OSError: the folder cannot be written, or all its nodes are taken.
    """
    for number in range(1, MAX_NODES + 1):
        folder = nodes_folder / f"{name}-{number}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / CONTAINER_LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return TakenNode(folder.name, folder, lock)
    raise OSError(f"all {MAX_NODES} nodes in {nodes_folder} are taken")


if __name__ == "__main__":
    sys.exit(main())
