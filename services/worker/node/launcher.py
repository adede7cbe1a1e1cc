"""Starting runners by way of the fork server; one that has died is started anew."""

import errno
import json
import os
import socket
import subprocess
import sys

import structlog

from services.database.attempts import Claim
from services.settings import WorkerSettings
from services.telemetry import tracing
from services.worker.folders import attempt_folder, write_marker
from services.worker.trainer.process import attempt_marker

ANSWER_SECONDS = 60.0  # the first one waits for the imports
log = structlog.get_logger()


class Launcher:
    """Starts runners for one worker, one at a time."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._fork_server: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None

    def start(self) -> None:
        """Start the fork server, which is ready for the first runner a second later."""
        requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        requests.settimeout(ANSWER_SECONDS)
        with theirs:
            self._fork_server = subprocess.Popen(
                [sys.executable, "-m", "services.worker.node.fork_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._requests = requests

    def launch(self, claim: Claim) -> None:
        """Start the runner of an attempt; blocks until it holds its lock.

        Raises:
            OSError: it cannot be started.
        """
        folder = attempt_folder(self._settings.data_folder, claim.attempt_id)
        folder.mkdir(parents=True, exist_ok=True)
        write_marker(folder, attempt_marker(claim))
        error = self._ask(claim)
        if error is None:
            log.warning("fork_server.lost")
            self.stop()
            error = self._ask(claim)
        if error is None:
            raise OSError(errno.ECHILD, "the process that starts runners ends at once")
        if error:
            raise OSError(error, os.strerror(error))

    def stop(self) -> None:
        """End the fork server; runners go on."""
        if self._requests is not None:
            self._requests.close()
        if self._fork_server is not None:
            self._fork_server.kill()
            self._fork_server.wait()
        self._fork_server = self._requests = None

    def _ask(self, claim: Claim) -> int | None:
        """Return the error number of the start, or None if there is no answer."""
        if self._requests is None:
            self.start()
        assert self._requests is not None
        try:
            request = [claim.attempt_id, claim.fence, claim.node_rank]
            self._requests.send(json.dumps([*request, tracing.traceparent()]).encode())
            answer = self._requests.recv(64)
        except OSError:  # it has died, or hangs
            return None
        return int(json.loads(answer)) if answer else None
