"""What a run reports while it runs: the lines of `progress.jsonl`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from nvae_core.run_directory.files import describe_errors


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
