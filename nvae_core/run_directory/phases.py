"""When each phase of a rank began: a file of JSON lines, for whoever traces the run.

`ranks/rank_<n>.bin` says only where the rank is now. Steps and the loading of their images are one
phase here, `train`, so the file grows with validations and checkpoints, not with steps.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from nvae_core.run_directory.files import AppendedFile, describe_errors
from nvae_core.run_directory.rank_file import Phase

TRACED = "TRACEPARENT"  # the W3C variable: whoever started the trainer is part of a trace
TRAIN = "train"
PHASE_END = Phase.END.name.lower()  # nothing comes after it


class PhaseLine(BaseModel):
    """A phase has begun; the one before has ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: float  # Unix seconds
    phase: str
    step: int


class PhaseLog:
    """This rank's file."""

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


def open_phase_log(path: Path) -> PhaseLog | None:
    """Return the file of a rank that is traced; None for all others, which keep no such file."""
    return PhaseLog(path) if os.environ.get(TRACED) else None


def read_phases(path: Path) -> Iterator[PhaseLine]:
    """Yield the complete lines of a rank's file.

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
