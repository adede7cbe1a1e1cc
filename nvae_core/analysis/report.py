"""What an analysis leaves: pictures, each with its numbers beside it."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvae_core.checkpoint import MODEL_NAME, CheckpointManifest
from nvae_core.config import Analysis
from nvae_core.data.prepared import DatasetManifest
from nvae_core.run_directory import (
    ArtifactLine,
    MetricsLine,
    RunDirectory,
    StartedLine,
    write_atomically,
)

LOCAL_FIELDS = {"kind", "checkpoint", "dataset", "statistics", "runs"}  # paths of this machine


class Report:
    """Writes the files of one analysis and says in the progress that they are there."""

    def __init__(self, run: RunDirectory, config: Analysis) -> None:
        self._run = run
        self._options = config.model_dump(mode="json", exclude=LOCAL_FIELDS)
        self._sources: dict[str, Any] = {}
        self._step: int | None = None
        self.num_pictures = 0

    @property
    def values(self) -> dict[str, Any]:
        """What the result of the run says of it."""
        return {"num_pictures": self.num_pictures}

    @property
    def step(self) -> int | None:
        """The checkpoint's step, where there is a checkpoint."""
        return self._step

    def start(self, num_steps: int, *, num_parameters: int | None = None) -> None:
        """Say what is going to be done."""
        self._run.append(
            StartedLine(at=time.time(), num_steps=num_steps, num_parameters=num_parameters)
        )

    def progress(self, num_done: int, per_second: float) -> None:
        """Say how many images of the data set are done."""
        values = {"images_per_second": per_second}
        self._run.append(MetricsLine(at=time.time(), step=num_done, values=values))

    def name_checkpoint(self, path: str, manifest: CheckpointManifest) -> None:
        """Record which checkpoint this is of; the folder's name is its id in the service."""
        self._step = manifest.step
        self._sources["checkpoint"] = {
            "name": Path(path).name,
            "step": manifest.step,
            "sha256": manifest.files[MODEL_NAME].sha256,
        }

    def name_dataset(self, manifest: DatasetManifest) -> None:
        """Record which data set this is of."""
        self._sources["dataset"] = {"content_hash": manifest.content_hash}

    def name_runs(self, names: Sequence[str]) -> None:
        """Record which runs this is of."""
        self._sources["runs"] = list(names)

    def save_picture(self, name: str, png: bytes, numbers: dict[str, Any]) -> None:
        """Save `NAME.png` and `NAME.json`; the numbers first, so that no picture is without."""
        document = {**self._sources, "options": self._options, **numbers}
        text = json.dumps(as_json(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        self._save(f"{name}.json", text.encode(), "application/json")
        self._save(f"{name}.png", png, "image/png")
        self.num_pictures += 1

    def save_statistics(self, name: str, content: bytes) -> None:
        """Save re-estimated statistics for other runs."""
        self._save(name, content, "application/octet-stream")

    def _save(self, name: str, content: bytes, content_type: str) -> None:
        path = self._run.analysis / name
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, content)
        self._run.append(
            ArtifactLine(
                at=time.time(),
                name=name,
                path=str(path.relative_to(self._run.path)),
                content_type=content_type,
                step=self._step,
            )
        )


def as_json(value: Any) -> Any:
    """Return the value with names in place of numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
