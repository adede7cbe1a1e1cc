"""The runner's side of warm sampling: a run that a resident sampler carries out."""

import asyncio
import contextlib
import json
import signal
import socket
import time

from services.domain.statuses import Reason
from services.worker.resident_access import kill_peer
from services.worker.trainer import TERM_SECONDS, TrainerPlan

HEARD_SECONDS = 10.0  # in which a resident that does not hang says that it has heard
BEGUN = b"begun\n"
DONE = b"done\n"


class WarmSampling:
    """One sample run, carried out by a resident; it lives as long as the connection."""

    reason_without_result = Reason.WORKER_LOST  # the resident ended: another attempt does without

    def __init__(self, plan: TrainerPlan, connection: socket.socket) -> None:
        self._connection = connection
        self._answer = b""
        self._has_ended = False
        self._silent_until = time.monotonic() + HEARD_SECONDS
        request = {"run_directory": str(plan.run_directory.path)}
        connection.sendall(json.dumps(request).encode() + b"\n")
        connection.setblocking(False)

    @property
    def has_begun(self) -> bool:
        """Whether its turn has come; before it nothing has happened to the run."""
        return BEGUN in self._answer

    def is_running(self) -> bool:
        """Whether the resident has it, and has not answered yet."""
        while not self._has_ended:
            try:
                heard = self._connection.recv(64)
            except BlockingIOError:
                break
            except OSError:
                heard = b""
            self._answer += heard
            self._has_ended = not heard or self._answer.endswith(DONE)
        if not self._answer and not self._has_ended and time.monotonic() > self._silent_until:
            kill_peer(self._connection)
            self._has_ended = True
        return not self._has_ended

    async def pause(self, seconds: float) -> None:
        """Wait for a word, but not longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await _wait_readable(self._connection)

    def exit_code(self) -> int | None:
        """Return 0 for an answer, and as for a killed process where the resident ended without."""
        if self.is_running():
            return None
        return 0 if self._answer.endswith(DONE) else -signal.SIGKILL

    def terminate(self) -> None:
        """Let the resident see that nobody waits for the picture any more."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    async def kill(self) -> set[int]:
        """Take the run from the resident; if it does not let go of it, end the resident.

        A resident that has not begun with it works for somebody else, and is left alone.
        """
        self.terminate()
        deadline = time.monotonic() + TERM_SECONDS
        while self.is_running() and self.has_begun and time.monotonic() < deadline:
            await self.pause(TERM_SECONDS)
        if self.is_running() and self.has_begun:
            kill_peer(self._connection)
        self.close()
        return set()

    def close(self) -> None:
        """Have no more to do with the resident."""
        self._has_ended = True
        self._connection.close()

    def last_log_lines(self, _: int = 20) -> str:
        """Return what happened; what a resident prints is of everybody's runs."""
        return "" if self._answer.endswith(DONE) else "the resident sampler ended while it drew"

    def torchrun_log(self) -> str:
        """Return nothing: there is no torchrun."""
        return ""


async def _wait_readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)
