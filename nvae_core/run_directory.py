"""The file contract between whoever starts a trainer and the trainer; free of torch.

`docs/run_directory.md` describes it for people. Both sides use this module, so names exist once.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from nvae_core.config import (
    RUN_CONFIG,
    EvaluateConfig,
    PrepareDatasetConfig,
    SampleConfig,
    TrainConfig,
)


class ExitReason(StrEnum):
    """Why a trainer did not succeed, as written to `result.json`."""

    INVALID_CONFIG = "invalid_config"
    INVALID_DATASET = "invalid_dataset"
    CHECKPOINT_CORRUPT = "checkpoint_corrupt"
    NON_FINITE_LOSS = "non_finite_loss"
    OUT_OF_MEMORY = "out_of_memory"
    STOPPED = "stopped"  # asked to, by the stop file or SIGTERM
    LEASE_LOST = "lease_lost"  # the deadman's deadline passed
    TRAINER_CRASHED = "trainer_crashed"


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    at: float  # Unix seconds


class StartedLine(_Line):
    """First line of a run: what it is going to do."""

    type: Literal["started"] = "started"
    num_steps: int
    first_step: int = 0  # above 0 after a resume
    num_parameters: int | None = None


class MetricsLine(_Line):
    """Values measured at one step; for training, step is the number of optimizer updates done."""

    type: Literal["metrics"] = "metrics"
    step: int
    values: dict[str, float]


class CheckpointLine(_Line):
    """A complete checkpoint folder exists; its files will not change."""

    type: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str  # relative to the run directory


class ArtifactLine(_Line):
    """A complete file exists that people will want."""

    type: Literal["artifact"] = "artifact"
    name: str
    path: str  # relative to the run directory
    content_type: str
    step: int | None = None


ProgressLine = StartedLine | MetricsLine | CheckpointLine | ArtifactLine
PROGRESS_LINE: TypeAdapter[ProgressLine] = TypeAdapter(
    Annotated[ProgressLine, Field(discriminator="type")]
)


class Result(BaseModel):
    """How the run ended; written once, last, by rank 0 (or by the first rank that fails)."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    status: Literal["succeeded", "stopped", "failed"]
    reason: ExitReason | None = None
    message: str | None = None
    step: int | None = None
    values: dict[str, JsonValue] = {}


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
        self.logs = path / "logs"

    def create(
        self, config: TrainConfig | EvaluateConfig | SampleConfig | PrepareDatasetConfig
    ) -> None:
        """Make the folder and write `config.json` into it."""
        self.logs.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config_path, config.model_dump_json(indent=2).encode())

    def read_config(self) -> TrainConfig | EvaluateConfig | SampleConfig | PrepareDatasetConfig:
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
        """Append one line to `progress.jsonl`, in a single write."""
        with self.progress_path.open("ab") as file:
            file.write(line.model_dump_json().encode() + b"\n")

    def read_progress(self, offset: int = 0) -> Iterator[tuple[int, ProgressLine]]:
        """Yield (offset after the line, line) for each complete line from the byte offset on.

        Raises:
            ValueError: a complete line is not a progress line; the message gives its offset.
        """
        if not self.progress_path.exists():
            return
        with self.progress_path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # still being written
                try:
                    parsed = PROGRESS_LINE.validate_json(line)
                except ValidationError as error:
                    problem = describe_errors(error)
                    raise ValueError(f"progress.jsonl, byte {offset}: {problem}") from error
                offset += len(line)
                yield offset, parsed

    def write_result(self, result: Result) -> None:
        """Write `result.json`, unless another rank already did: the first cause is the one kept."""
        content = result.model_dump_json(indent=2).encode()
        temporary = self.path / f".result.{os.getpid()}.json"
        temporary.write_bytes(content)
        try:
            os.link(temporary, self.result_path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()

    def read_result(self) -> Result | None:
        """Return the result, or None while there is none."""
        try:
            return Result.model_validate_json(self.result_path.read_bytes())
        except FileNotFoundError:
            return None

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


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_folder(path.parent)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(path: Path) -> None:
    """Make renames inside the folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe_errors(error: ValidationError) -> str:
    """Return the errors in one sentence, each with the dotted name of its field."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'value'}: {item['msg']}"
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    )
