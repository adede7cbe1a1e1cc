"""Where a rank is, and when each of its phases began.

`ranks/rank_<n>.bin` is a small mapped file that can be read while the rank hangs. Little-endian:
8 bytes `NVAERANK`, version (u32), phase (u32), process id (i64), step (i64), the moment the phase
began on the machine's monotonic clock (f64), seconds of the last step (f64).

`ranks/rank_<n>.phases.jsonl` is kept by ranks that are traced. Steps and the loading of their
images are one phase there, `train`, so it grows with validations and checkpoints, not with steps.
"""

import contextlib
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from nvae_core.run_directory.files import AppendedFile, describe_errors, write_atomically

MAGIC = b"NVAERANK"
VERSION = 1
LAYOUT = struct.Struct("<8sIIqqdd")
TRACED = "TRACEPARENT"  # the W3C variable: whoever started the trainer is part of a trace


class Phase(IntEnum):
    """What a rank is doing."""

    START = 0  # reading the configuration, the data set, the checkpoint; joining the others
    DATA = 1
    STEP = 2
    SAVE = 3
    SAMPLE = 4
    EVALUATE = 5
    END = 6


TRAIN = "train"
PHASE_END = Phase.END.name.lower()  # nothing comes after it


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

    def pack(self) -> bytes:
        """Return the bytes of the file."""
        numbers = (self.phase, self.process_id, self.step, self.since, self.step_seconds)
        return LAYOUT.pack(MAGIC, VERSION, *numbers)


class PhaseLine(BaseModel):
    """A phase has begun; the one before has ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: float  # Unix seconds
    phase: str
    step: int


class PhaseLog:
    """The file of phases of one rank."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        path.parent.mkdir(exist_ok=True)
        self._file = AppendedFile(path)
        self._clock = clock
        self._current = ""

    def enter(self, phase: Phase, step: int) -> None:
        """Append a line if this is another phase than before; what finds no room is lost."""
        name = TRAIN if phase in {Phase.DATA, Phase.STEP} else phase.name.lower()
        if name == self._current:
            return
        self._current = name
        line = PhaseLine(at=self._clock(), phase=name, step=step)
        with contextlib.suppress(OSError):
            self._file.append(line.model_dump_json().encode() + b"\n")


class RankFile:
    """This rank's file; writing is a copy into memory and never waits for the disk."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        phases: PhaseLog | None = None,
    ) -> None:
        """Make the file; `phases` is told each phase too."""
        self._clock = clock
        self._phases = phases
        self.state = RankState(Phase.START, os.getpid(), 0, clock(), 0.0)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, self.state.pack())
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), LAYOUT.size)
        if phases is not None:
            phases.enter(Phase.START, 0)

    def enter(self, phase: Phase, step: int, *, step_seconds: float | None = None) -> None:
        """Say what this rank does from now on, also if it is the same as before."""
        if step_seconds is None:
            step_seconds = self.state.step_seconds
        now = self._clock()
        self.state = RankState(phase, self.state.process_id, step, now, step_seconds)
        self._map[:] = self.state.pack()
        if self._phases is not None:
            self._phases.enter(phase, step)


def read_rank_file(path: Path) -> RankState:
    """Read a rank's file.

    Raises:
        ValueError: it is not one.
    """
    content = path.read_bytes()
    if len(content) != LAYOUT.size or not content.startswith(MAGIC):
        raise ValueError(f"{path}: is not the file of a rank")
    _, version, phase, *numbers = LAYOUT.unpack(content)
    if version != VERSION:
        raise ValueError(f"{path}: version {version} is not known")
    return RankState(Phase(phase), *numbers)


def read_phases(path: Path) -> Iterator[PhaseLine]:
    """Yield the complete lines of a rank's file of phases.

    Raises:
        OSError: it cannot be read.
        ValueError: a complete line is not one of a phase.
    """
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                yield PhaseLine.model_validate_json(line)
            except ValidationError as error:
                raise ValueError(f"{path}: {describe_errors(error)}") from error
