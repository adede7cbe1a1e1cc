"""Leaving: when asked to, when the lease is lost, and when the parent dies."""

import ctypes
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Self

from nvae_core.run_directory import ExitReason, Result, RunDirectory
from nvae_core.runtime import PARENT_AT_START

DEADMAN_INTERVAL_SECONDS = 0.5
PR_SET_PDEATHSIG = 1


class StopSignal:
    """Whether this rank was asked to stop, by the stop file, SIGTERM or Ctrl-C."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._terminated = False

    def listen(self) -> Self:
        """Take SIGTERM and SIGINT as requests to stop from now on."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        return self

    def is_set(self) -> bool:
        """Whether to leave at the next step boundary."""
        return self._terminated or self._run.stop_requested()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._terminated = True


def watch_deadman(run: RunDirectory) -> None:
    """Start a thread that ends this process at once when the deadman's deadline passes."""
    threading.Thread(target=_end_at_deadline, args=(run,), name="deadman", daemon=True).start()


def die_with_parent() -> None:
    """Under torchrun, let the kernel kill this process when torchrun dies."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # In a container torchrun itself may be process 1.
    is_orphan = PARENT_AT_START == 1 and b"torch" not in Path("/proc/1/cmdline").read_bytes()
    if os.getppid() != PARENT_AT_START or is_orphan:
        os.kill(os.getpid(), signal.SIGKILL)  # it died before we asked


def _end_at_deadline(run: RunDirectory) -> None:
    pause = threading.Event()
    message = "the deadline in the deadman file has passed"
    try:
        while not run.deadman_expired():
            pause.wait(DEADMAN_INTERVAL_SECONDS)
        run.write_result(Result(status="failed", reason=ExitReason.LEASE_LOST, message=message))
    finally:  # also if the file cannot be read, or the disk is full: no rank outlives its lease
        os._exit(1)
