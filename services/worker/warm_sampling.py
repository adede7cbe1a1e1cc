"""The runner's side of warm sampling: a run that the node's resident sampler carries out.

The resident has its models loaded, so that a picture takes a fraction of a second instead of the
seconds in which torch is imported. It is there when it was wanted before: the first run finds none,
leaves word for the worker, and is carried out by a process of its own, as any other.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from services.domain.statuses import Reason
from services.worker.trainer import TERM_SECONDS, TrainerPlan, tail

FOLDER_NAME = "sampler"
SOCKET_NAME = "socket"
WANTED_NAME = "wanted"
LOG_NAME = "sampler.log"
CONNECT_SECONDS = 1.0
RELEASE_SECONDS = 30.0  # it may have a grid to finish
DONE = b"done\n"
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid of the peer, from SO_PEERCRED

log = structlog.get_logger()


class WarmSampling:
    """One sample run, carried out by the resident; it lives as long as the connection."""

    reason_without_result = Reason.WORKER_LOST  # the resident ended: another attempt does without

    def __init__(self, plan: TrainerPlan, connection: socket.socket, *, log_path: Path) -> None:
        self._connection = connection
        self._log_path = log_path
        self._heard = b""
        self._has_ended = False
        request = {"run_directory": str(plan.run_directory.path), "device": plan.slots[0]}
        connection.sendall(json.dumps(request).encode() + b"\n")
        connection.setblocking(False)

    def is_running(self) -> bool:
        """Whether the resident has not answered yet."""
        while not self._has_ended:
            try:
                heard = self._connection.recv(64)
            except BlockingIOError:
                return True
            except OSError:
                heard = b""
            self._heard += heard
            self._has_ended = not heard or self._heard == DONE
        return False

    async def pause(self, seconds: float) -> None:
        """Wait for the answer, but not longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await _wait_readable(self._connection)

    def exit_code(self) -> int | None:
        """Return 0 for an answer, and as for a killed process where the resident ended without."""
        if self.is_running():
            return None
        return 0 if self._heard == DONE else -signal.SIGKILL

    def terminate(self) -> None:
        """Let the resident see that nobody waits for the picture any more."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    async def kill(self) -> set[int]:
        """Take the run from the resident; if it does not let go of it, end the resident."""
        self.terminate()
        deadline = time.monotonic() + TERM_SECONDS
        while self.is_running() and time.monotonic() < deadline:
            await self.pause(TERM_SECONDS)
        if self.is_running():
            kill_peer(self._connection)
        self._connection.close()
        return set()

    def last_log_lines(self, count: int = 20) -> str:
        """Return the end of what the resident printed."""
        return "\n".join(tail(self._log_path, count))

    def torchrun_log(self) -> str:
        """Return nothing: there is no torchrun."""
        return ""


def try_warm(plan: TrainerPlan, data_folder: Path) -> WarmSampling | None:
    """Let the resident carry out the plan; without one return None, and leave word for it."""
    folder = data_folder / FOLDER_NAME
    connection = connect(folder)
    if connection is not None:
        try:
            return WarmSampling(plan, connection, log_path=folder / LOG_NAME)
        except OSError:
            connection.close()
    folder.mkdir(exist_ok=True)
    (folder / WANTED_NAME).touch()
    return None


def release_devices(data_folder: Path, slots: Sequence[int]) -> None:
    """Have the resident leave these GPUs, before something else takes them; blocks."""
    connection = connect(data_folder / FOLDER_NAME)
    if connection is None:
        return
    with connection:
        connection.settimeout(RELEASE_SECONDS)
        try:
            connection.sendall(json.dumps({"release": list(slots)}).encode() + b"\n")
            connection.recv(len(DONE))  # or nothing, from a process that has ended
        except OSError:
            kill_peer(connection)


def connect(folder: Path) -> socket.socket | None:
    """Return a connection to the resident of a node, or None where it is not there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_SECONDS)
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:  # the path of a socket may not be long; this one is
            connection.connect(f"/proc/self/fd/{descriptor}/{SOCKET_NAME}")
        finally:
            os.close(descriptor)
    except OSError:
        connection.close()
        return None
    return connection


def kill_peer(connection: socket.socket) -> None:
    """Kill the process at the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, _, _ = CREDENTIALS.unpack(credentials)
    log.warning("sampler.killed", pid=pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def _wait_readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)
