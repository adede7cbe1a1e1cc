"""Forks runners from a process that has loaded all they need.

`python -m services.worker.node.fork_server FD` answers at a socket. A runner that is started from
nothing spends a second on imports. This process has no threads, opens no connection, and ends when
the worker at the other end of the socket does; runners go on.
"""

import ctypes
import errno
import fcntl
import gc
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

from services.database.attempts import Claim
from services.settings import StorageSettings, WorkerSettings
from services.storage.s3 import S3Storage
from services.telemetry import tracing
from services.telemetry.logging import configure_logging
from services.worker.folders import LOCK_NAME, LOG_NAME, attempt_folder
from services.worker.runner import runner

MAX_REQUEST_BYTES = 4096
PR_SET_NAME = 15


def main() -> None:
    """Answer requests, each a claim, with an error number; 0 says that its runner lives."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    configure_logging("runner")
    tracing.load()
    settings = WorkerSettings()
    S3Storage(StorageSettings())  # what boto3 reads from its files, once
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries runners
    gc.freeze()  # their memory stays shared with this process
    while request := requests.recv(MAX_REQUEST_BYTES):
        attempt_id, fence, node_rank, parent = json.loads(request)
        claim = Claim(attempt_id, fence, node_rank)
        error = 0
        try:
            _fork_runner(settings, claim, parent, requests)
        except OSError as failure:
            error = failure.errno or errno.EIO
        requests.send(json.dumps(error).encode())


def _fork_runner(
    settings: WorkerSettings, claim: Claim, parent: str | None, requests: socket.socket
) -> None:
    folder = attempt_folder(settings.data_folder, claim.attempt_id)
    lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        # The runner inherits the lock and holds it for life: there is no moment without it.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fork() == 0:
            _become_runner(folder, lock, claim, parent, requests)
    except BlockingIOError:
        return  # asked again by a worker that has not heard the answer
    finally:
        os.close(lock)


def _become_runner(
    folder: Path, lock: int, claim: Claim, parent: str | None, requests: socket.socket
) -> None:
    """Be the runner; does not return."""
    try:
        requests.close()
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(PR_SET_NAME, b"nvae-runner", 0, 0, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        log = os.open(folder / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, sys.stdout.fileno())
        os.dup2(log, sys.stderr.fileno())
        runner.run(claim, parent=parent, lock=lock)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)  # nobody above may go on in this process


if __name__ == "__main__":
    main()
