"""Paths, reads and writes of one run directory."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from nvae_core.config import RUN_CONFIG, AnyRunConfig
from nvae_core.run_directory.files import (
    AppendedFile,
    describe_errors,
    is_disk_full,
    write_atomically,
)
from nvae_core.run_directory.progress import ProgressLine, Result, format_line, read_progress
from nvae_core.run_directory.ranks import (
    TRACED,
    PhaseLine,
    PhaseLog,
    RankFile,
    RankState,
    read_phases,
    read_rank_file,
)

RESERVED_BYTES = 64 * 1024  # for the result, on a disk that is full


class InvalidRunDirectory(ValueError):
    """`config.json` is missing or not valid; the message names the field."""


class RunDirectory:
    """Paths, reads and writes of one run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / "config.json"
        self.progress_path = path / "progress.jsonl"
        self.result_path = path / "result.json"
        self.stop_path = path / "stop"
        self.deadman_path = path / "deadman"
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.dataset = path / "dataset"  # what a preparation leaves
        self.estimates = path / "estimates"  # of an evaluation
        self.logs = path / "logs"
        self.ranks = path / "ranks"
        self.tensorboard = path / "tensorboard"
        self._progress = AppendedFile(self.progress_path)
        self._reserve_path = path / ".result_reserve"

    def create(self, config: AnyRunConfig) -> None:
        """Make the folder and write `config.json` into it."""
        self.logs.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config_path, config.model_dump_json(indent=2).encode())

    def read_config(self) -> AnyRunConfig:
        """Return the validated `config.json`.

        Raises:
            InvalidRunDirectory: it is missing, not JSON, or a field is not valid.
        """
        try:
            return RUN_CONFIG.validate_json(self.config_path.read_bytes())
        except OSError as error:
            raise InvalidRunDirectory(f"{self.config_path}: {error.strerror}") from error
        except ValidationError as error:
            raise InvalidRunDirectory(f"{self.config_path}: {describe_errors(error)}") from error

    def append(self, line: ProgressLine) -> None:
        """Append one line to `progress.jsonl`, in a single write; on a full disk, later.

        Standard error gets it as text.
        """
        self._progress.append(line.model_dump_json().encode() + b"\n")
        sys.stderr.write(format_line(line) + "\n")

    def finish_progress(self) -> None:
        """Append what did not fit on a full disk; OSError if it still does not."""
        self._progress.finish()

    def read_progress(self, offset: int = 0) -> Iterator[tuple[int, ProgressLine]]:
        """Yield (offset after the line, line) for each complete line from the byte offset on.

        Raises:
            ValueError: a complete line is not a progress line; the message gives its offset.
        """
        return read_progress(self.progress_path, offset)

    def reserve_result(self) -> None:
        """Keep room on the disk, so that a run that fails on a full disk can say so."""
        self._reserve_path.write_bytes(bytes(RESERVED_BYTES))

    def write_result(self, result: Result) -> None:
        """Write `result.json`, unless another rank already did: the first cause is the one kept."""
        content = result.model_dump_json(indent=2).encode()
        temporary = self.path / f".result.{os.getpid()}.json"
        try:
            temporary.write_bytes(content)
        except OSError as error:
            if not is_disk_full(error):
                raise
            self._reserve_path.unlink(missing_ok=True)
            temporary.write_bytes(content)
        try:
            os.link(temporary, self.result_path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
            self._reserve_path.unlink(missing_ok=True)

    def read_result(self) -> Result | None:
        """Return the result, or None while there is none."""
        try:
            return Result.model_validate_json(self.result_path.read_bytes())
        except FileNotFoundError:
            return None

    def rank_path(self, rank: int) -> Path:
        """Return the file in which a rank says where it is."""
        return self.ranks / f"rank_{rank}.bin"

    def stacks_path(self, rank: int) -> Path:
        """Return the file to which a rank appends its stacks on SIGUSR1."""
        return self.ranks / f"rank_{rank}.stacks.txt"

    def phases_path(self, rank: int) -> Path:
        """Return the file in which a rank that is traced says when each phase began."""
        return self.ranks / f"rank_{rank}.phases.jsonl"

    def open_rank_file(self, rank: int) -> RankFile:
        """Make the file in which a rank says where it is; if it is traced, that of its phases."""
        phases = PhaseLog(self.phases_path(rank)) if os.environ.get(TRACED) else None
        return RankFile(self.rank_path(rank), phases=phases)

    def read_ranks(self) -> dict[int, RankState]:
        """Return where the ranks of this machine are, by rank; empty before they start."""
        paths = self.ranks.glob("rank_*.bin")
        states = {int(path.stem.removeprefix("rank_")): read_rank_file(path) for path in paths}
        return dict(sorted(states.items()))

    def read_phases(self) -> dict[int, Iterator[PhaseLine]]:
        """Return the phases of the ranks of this machine that are traced, by rank.

        Raises:
            OSError, ValueError: while a rank's are read, as in `ranks.read_phases`.
        """
        paths = self.ranks.glob("rank_*.phases.jsonl")
        ranks = {int(path.name.split(".")[0].removeprefix("rank_")): path for path in paths}
        return {rank: read_phases(path) for rank, path in sorted(ranks.items())}

    def request_stop(self) -> None:
        """Ask the trainer to leave at the next step boundary with a checkpoint."""
        self.stop_path.touch()

    def stop_requested(self) -> bool:
        """Whether the stop file exists."""
        return self.stop_path.exists()

    def extend_deadman(self, deadline: float) -> None:
        """Let the ranks live until this moment of the machine's monotonic clock, in seconds.

        Overwritten in place, at a fixed width: that works on a full disk and waits for no sync.
        """
        descriptor = os.open(self.deadman_path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, f"{deadline:020.3f}".encode(), 0)
        finally:
            os.close(descriptor)

    def deadman_expired(self, now: float | None = None) -> bool:
        """Whether there is a deadman file and its deadline has passed."""
        try:
            deadline = float(self.deadman_path.read_text() or "inf")  # empty: just created
        except FileNotFoundError:
            return False  # started from a shell: nobody holds a lease
        return (time.monotonic() if now is None else now) > deadline
