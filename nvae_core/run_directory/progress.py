"""What a run reports: the lines of `progress.jsonl`, and `result.json` at the end."""

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from nvae_core.run_directory.files import describe_errors

METRIC_FORMATS = {  # of the metrics that a line of the log shows
    "loss": ".2f",
    "negative_elbo": ".2f",
    "importance_weighted_nll": ".2f",
    "bits_per_dim": ".3f",
    "kl": ".2f",
    "learning_rate": ".2g",
    "images_per_second": ".0f",
}


class ExitReason(StrEnum):
    """Why a trainer did not succeed, as written to `result.json`."""

    INVALID_CONFIG = "invalid_config"
    INVALID_DATASET = "invalid_dataset"
    CHECKPOINT_CORRUPT = "checkpoint_corrupt"
    NON_FINITE_LOSS = "non_finite_loss"
    OUT_OF_MEMORY = "out_of_memory"
    GPU_UNAVAILABLE = "gpu_unavailable"  # a GPU was promised, and torch sees none
    DEVICE_ERROR = "device_error"  # the GPU failed, or does not fit this torch
    DISK_FULL = "disk_full"
    RENDEZVOUS_TIMEOUT = "rendezvous_timeout"  # not all ranks joined
    PEER_LOST = "peer_lost"  # another rank ended or does not answer
    STALLED = "stalled"  # a rank made no progress for too long
    STOPPED = "stopped"  # asked to, by the stop file or SIGTERM
    LEASE_LOST = "lease_lost"  # the deadman's deadline passed
    TRAINER_CRASHED = "trainer_crashed"


class Result(BaseModel):
    """How the run ended; written once, last, by rank 0 (or by the first rank that fails)."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    status: Literal["succeeded", "stopped", "failed"]
    reason: ExitReason | None = None
    message: str | None = None
    step: int | None = None
    values: dict[str, JsonValue] = {}


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    at: float  # Unix seconds


class StartedLine(_Line):
    """First line of a run: what it is going to do."""

    type: Literal["started"] = "started"
    num_steps: int
    first_step: int = 0  # above 0 after a resume
    num_parameters: int | None = None
    device: str | None = None  # such as "NVIDIA H100 80GB HBM3", or "cpu"
    torch: str | None = None  # its version
    cuda: str | None = None  # the version torch was built for; None on a CPU


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


class NoticeLine(_Line):
    """Something happened that does not end the run, but that people should know."""

    type: Literal["notice"] = "notice"
    name: str  # stable, such as `disk_full`
    message: str
    step: int | None = None


ProgressLine = StartedLine | MetricsLine | CheckpointLine | ArtifactLine | NoticeLine
PROGRESS_LINE: TypeAdapter[ProgressLine] = TypeAdapter(
    Annotated[ProgressLine, Field(discriminator="type")]
)


def read_progress(path: Path, offset: int = 0) -> Iterator[tuple[int, ProgressLine]]:
    """Yield (offset after the line, line) for each complete line from the byte offset on.

    Raises:
        ValueError: a complete line is not a progress line; the message gives its offset.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
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


def format_line(line: ProgressLine) -> str:
    """Return a progress line as one line of text, with its time in UTC."""
    at = datetime.fromtimestamp(line.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    step = "" if isinstance(line, StartedLine) or line.step is None else f"step {line.step}: "
    return f"{at} {step}{_format_content(line)}"


def _format_content(line: ProgressLine) -> str:
    match line:
        case StartedLine():
            size = f", {line.num_parameters:,} parameters" if line.num_parameters else ""
            device = f", on {line.device}" if line.device else ""
            versions = f", torch {line.torch}" if line.torch else ""
            cuda = f", CUDA {line.cuda}" if line.cuda else ""
            return f"begins at {line.first_step} of {line.num_steps}{size}{device}{versions}{cuda}"
        case MetricsLine():
            shown = [
                f"{name} {line.values[name]:{digits}}"
                for name, digits in METRIC_FORMATS.items()
                if name in line.values
            ]
            return ", ".join(shown) or ", ".join(f"{k} {v:g}" for k, v in line.values.items())
        case NoticeLine():
            return f"{line.name}: {line.message}"
        case CheckpointLine():
            return f"checkpoint {line.path}"
        case ArtifactLine():
            return f"wrote {line.name}"
