"""A node whose runners are forked from a process that has loaded everything: thousands, cheaply.

`python forked_runners.py` is a worker without Celery, which looks at Postgres at each poll. All
else is the real agent and the real runner, each in a process and a session of its own.
"""

import asyncio
import fcntl
import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.adapters.postgres.attempts import Claim
from services.adapters.postgres.database import Database
from services.adapters.processes import is_locked
from services.adapters.s3_storage import S3Storage
from services.adapters.telemetry import configure_logging
from services.settings import DatabaseSettings, LeaseSettings, StorageSettings, WorkerSettings
from services.worker import agent, attempt_folders, runner
from services.worker.trainer import attempt_marker


@dataclass(frozen=True)
class ForkedRunner:
    """Looks like a started process to the agent: it lives while it holds its lock."""

    lock: Path

    def poll(self) -> int | None:
        """Return None while it lives."""
        return None if is_locked(self.lock) else 0


class Nursery:
    """A process without threads that forks runners on request."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            self._requests.close()
            _serve(theirs)
        theirs.close()

    def launch(self, settings: WorkerSettings, claim: Claim) -> Any:
        """Start the runner of an attempt, as `attempt_folders.launch` does."""
        folder = attempt_folders.attempt_folder(settings.data_folder, claim.attempt_id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "marker").write_text(attempt_marker(claim))
        words = [claim.attempt_id, str(claim.fence), str(claim.node_rank)]
        self._requests.send(json.dumps([str(folder), *words]).encode())
        assert self._requests.recv(1)  # it holds its lock
        return ForkedRunner(folder / "runner.lock")


def _serve(requests: socket.socket) -> None:
    S3Storage(StorageSettings())  # what boto3 reads from its files, once
    while request := requests.recv(4096):
        _reap()
        folder, *words = json.loads(request)
        lock = os.open(Path(folder, "runner.lock"), os.O_WRONLY | os.O_CREAT, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fork() == 0:
            requests.close()
            os.setsid()
            log = os.open(Path(folder, "runner.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.argv = ["runner", *words]
            runner.main()
        os.close(lock)
        requests.send(b"1")
    os._exit(0)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            continue
    except ChildProcessError:
        return


async def _look_for_ever(settings: WorkerSettings) -> None:
    node = agent.NodeAgent(settings, Database(DatabaseSettings()), LeaseSettings())
    await node.register()
    await node.run()


def main() -> None:
    """Be a node until killed."""
    settings = WorkerSettings()
    settings.data_folder.mkdir(parents=True, exist_ok=True)
    agent.launch = Nursery().launch
    configure_logging("worker")
    asyncio.run(_look_for_ever(settings))


if __name__ == "__main__":
    main()
