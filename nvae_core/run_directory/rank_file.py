"""Where a rank is: a small mapped file for each rank, that can be read while the rank hangs.

Little-endian: 8 bytes `NVAERANK`, version (u32), phase (u32), process id (i64), step (i64), the
moment the phase began on the machine's monotonic clock (f64), seconds of the last step (f64).
"""

import mmap
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from nvae_core.run_directory.files import write_atomically

MAGIC = b"NVAERANK"
VERSION = 1
LAYOUT = struct.Struct("<8sIIqqdd")


class Phase(IntEnum):
    """What a rank is doing."""

    START = 0  # reading the configuration, the data set, the checkpoint; joining the others
    DATA = 1
    STEP = 2
    SAVE = 3
    SAMPLE = 4
    EVALUATE = 5
    END = 6


@dataclass(frozen=True)
class RankState:
    """Contents of one rank's file."""

    phase: Phase
    process_id: int
    step: int
    since: float  # on the machine's monotonic clock
    step_seconds: float  # of the last step; 0 before the first

    def describe(self, now: float) -> str:
        """Return where the rank is, in words."""
        seconds = max(now - self.since, 0.0)
        return f"{self.phase.name.lower()} of step {self.step} for {seconds:.0f} s"


class RankFile:
    """This rank's file; writing is a copy into memory and never waits for the disk."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_enter: Callable[[Phase, int], None] | None = None,
    ) -> None:
        """Make the file; `on_enter` hears of phase and step whenever one is entered."""
        self._clock = clock
        self._on_enter = on_enter
        self.state = RankState(Phase.START, os.getpid(), 0, clock(), 0.0)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, _pack(self.state))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), LAYOUT.size)
        if on_enter is not None:
            on_enter(self.state.phase, self.state.step)

    def enter(self, phase: Phase, step: int, *, step_seconds: float | None = None) -> None:
        """Say what this rank does from now on, also if it is the same as before."""
        if step_seconds is None:
            step_seconds = self.state.step_seconds
        now = self._clock()
        self.state = RankState(phase, self.state.process_id, step, now, step_seconds)
        self._map[:] = _pack(self.state)
        if self._on_enter is not None:
            self._on_enter(phase, step)


def read_rank_file(path: Path) -> RankState:
    """Read a rank's file.

    Raises:
        ValueError: it is not one.
    """
    content = path.read_bytes()
    if len(content) != LAYOUT.size or not content.startswith(MAGIC):
        raise ValueError(f"{path}: is not the file of a rank")
    _, version, phase, process_id, step, since, step_seconds = LAYOUT.unpack(content)
    if version != VERSION:
        raise ValueError(f"{path}: version {version} is not known")
    return RankState(Phase(phase), process_id, step, since, step_seconds)


def _pack(state: RankState) -> bytes:
    return LAYOUT.pack(
        MAGIC,
        VERSION,
        state.phase,
        state.process_id,
        state.step,
        state.since,
        state.step_seconds,
    )
