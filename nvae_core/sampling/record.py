"""What pictures were made from, as the JSON beside them says it: the same on every machine."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nvae_core.checkpoint import MODEL_NAME, CheckpointManifest
from nvae_core.config import Config
from nvae_core.run_directory import RunDirectory
from nvae_core.sampling.grids import report_sample

# Folders and files of this machine; what is in them is told in other words.
PATHS: Any = {
    "checkpoint": True,
    "dataset": True,
    "statistics": True,
    "runs": {"__all__": {"path"}},
}


def describe_inputs(config: Config) -> dict[str, object]:
    """Return the configuration of a run without paths."""
    return config.model_dump(mode="json", exclude=PATHS)


def describe_checkpoint(folder: str, manifest: CheckpointManifest) -> dict[str, object]:
    """Return which checkpoint it was; the folder of a job's checkpoint has its id for a name."""
    return {
        "name": Path(folder).name,
        "step": manifest.step,
        "seed": manifest.seed,
        "model_sha256": manifest.files[MODEL_NAME].sha256,
    }


def report_record(run: RunDirectory, name: str, record: Mapping[str, object], *, step: int) -> None:
    """Leave a record among the run's samples, as JSON whose numbers are finite."""
    content = json.dumps(record, indent=2, allow_nan=False).encode()
    report_sample(run, name, content, "application/json", step=step)
