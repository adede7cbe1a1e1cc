"""What an analysis leaves: its picture, and beside it the numbers as JSON."""

import json
from dataclasses import dataclass, field

from nvae_core.checkpoint import MODEL_NAME, CheckpointManifest
from nvae_core.config import Config
from nvae_core.run_directory import RunDirectory
from nvae_core.sampling.grids import report_sample


@dataclass(frozen=True)
class Picture:
    """A PNG, and what is in it."""

    name: str  # of the files, without their endings
    png: bytes
    numbers: dict[str, object] = field(default_factory=dict)


def report_picture(
    run: RunDirectory, config: Config, picture: Picture, checkpoint: CheckpointManifest | None
) -> None:
    """Leave a picture and its numbers, with everything that it was made from."""
    record: dict[str, object] = {"inputs": config.model_dump(mode="json")}
    step = 0
    if checkpoint is not None:
        step = checkpoint.step
        sha256 = checkpoint.files[MODEL_NAME].sha256
        record["checkpoint"] = {"step": step, "seed": checkpoint.seed, "model_sha256": sha256}
    record |= picture.numbers
    content = json.dumps(record, indent=2, allow_nan=False).encode()
    report_sample(run, f"{picture.name}.png", picture.png, "image/png", step=step)
    report_sample(run, f"{picture.name}.json", content, "application/json", step=step)
