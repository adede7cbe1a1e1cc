"""A sample run by a resident sampler where one is there, else by a process of its own.

A resident has its models loaded, so that a picture takes a fraction of a second instead of the
seconds in which torch is imported. A node has one for its cores, or one for each of its GPUs. It is
there when it was wanted before: the first run finds none, and leaves word for the worker.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from services.domain.states import Reason
from services.processes import kill_marked
from services.worker.trainer.process import TERM_SECONDS, RunningTrainer, Trainer, TrainerPlan

FOLDER_NAME = "sampler"
SOCKET_NAME = "socket"
WANTED_NAME = "wanted"
LOG_NAME = "sampler.log"
LOCK_NAME = "start.lock"
MARKER = "NVAE_RESIDENT"
CONNECT_SECONDS = 1.0
RELEASE_SECONDS = 30.0  # it may have a grid to finish
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid of the peer, from SO_PEERCRED
log = structlog.get_logger()
HEARD_SECONDS = 10.0  # in which a resident that does not hang says that it has heard
BEGUN = b"begun\n"
DONE = b"done\n"


def sampler_folder(data_folder: Path, slot_kind: str, slot: str) -> Path:
    """Return the folder of the resident that computes on a slot: one for all cores, or a GPU's."""
    name = f"gpu_{slot.replace('/', '_')}" if slot_kind == "gpu" else "cpu"
    return data_folder / FOLDER_NAME / name


def sampler_marker(folder: Path) -> str:
    """Return the entry in the environment by which the resident of a folder is found."""
    return f"{MARKER}={folder.absolute()}"


@contextlib.contextmanager
def lock_start(folder: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock under which a resident is started, or kept from being started.

    Raises:
        BlockingIOError: somebody has it, and it is not waited for.
    """
    with (folder / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def connect(folder: Path) -> socket.socket | None:
    """Return a connection to a resident, or None where it is not there."""
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


def release_gpus(data_folder: Path, slots: Sequence[str]) -> None:
    """Have the residents of these GPUs end, before something else takes them; blocks."""
    for slot in slots:
        folder = sampler_folder(data_folder, "gpu", slot)
        if not folder.exists():  # none was ever wanted
            continue
        with lock_start(folder, wait=True):
            (folder / WANTED_NAME).unlink(missing_ok=True)
            connection = connect(folder)
            if connection is None:  # it still starts, and hears nothing yet; or there is none
                kill_marked(sampler_marker(folder))
        if connection is not None:
            _release(connection)


def _release(connection: socket.socket) -> None:
    with connection:
        connection.settimeout(RELEASE_SECONDS)
        try:
            connection.sendall(json.dumps({"release": True}).encode() + b"\n")
            while connection.recv(64):  # its end is the answer
                continue
        except OSError:
            kill_peer(connection)


class ResidentSampling:
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
                received = self._connection.recv(64)
            except BlockingIOError:
                break
            except OSError:
                received = b""
            self._answer += received
            self._has_ended = not received or self._answer.endswith(DONE)
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


class SamplingWithFallback:
    """A sample run that a resident was asked for, and a process of its own if it did not begin.

    It may have ended meanwhile, because it was idle, or was killed, or its GPU is wanted.
    """

    def __init__(self, plan: TrainerPlan, warm: ResidentSampling) -> None:
        self._plan = plan
        self._warm = warm
        self._current: RunningTrainer = warm
        self._is_wanted = True

    @property
    def reason_without_result(self) -> Reason:
        """Of whatever carries it out."""
        return self._current.reason_without_result

    def is_running(self) -> bool:
        """Whether it is there; starts the process, where the resident is gone."""
        is_running = self._current.is_running()
        if self._current is not self._warm:
            return is_running
        if is_running:
            return self._warm.has_begun or not self._plan.run_directory.stop_requested()
        if self._warm.has_begun or not self._is_wanted:
            return False
        log.info("sampler.did_not_begin")
        self._warm.close()
        self._current = Trainer(self._plan)
        return True

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than it runs, where that can be seen."""
        await self._current.pause(seconds)

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        return self._current.exit_code()

    def terminate(self) -> None:
        """Ask it to end."""
        self._is_wanted = False
        self._current.terminate()

    async def kill(self) -> set[int]:
        """End it; return the pids of what resists."""
        self._is_wanted = False
        return await self._current.kill()

    def last_log_lines(self, count: int = 20) -> str:
        """Return the end of what it printed."""
        return self._current.last_log_lines(count)

    def torchrun_log(self) -> str:
        """Return nothing: there is no torchrun."""
        return ""


def start_sampling(plan: TrainerPlan, data_folder: Path) -> SamplingWithFallback | None:
    """Let the resident carry out the plan; without one return None, and leave word for it."""
    folder = sampler_folder(data_folder, plan.slot_kind, plan.slots[0])
    connection = connect(folder)
    if connection is not None:
        try:
            return SamplingWithFallback(plan, ResidentSampling(plan, connection))
        except OSError:
            connection.close()
    folder.mkdir(parents=True, exist_ok=True)
    slot = plan.slots[0] if plan.slot_kind == "gpu" else ""
    (folder / WANTED_NAME).write_text(slot)
    return None
