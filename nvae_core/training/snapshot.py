"""Writing checkpoints: a copy of the state, then files that are complete or absent."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from nvae_core.checkpoint import (
    MANIFEST_NAME,
    MODEL_NAME,
    TRAINING_NAME,
    CheckpointManifest,
    FileRecord,
    TrainedOn,
    checkpoint_name,
)
from nvae_core.config import ComputeConfig, OptimizationConfig
from nvae_core.run_directory import file_sha256, sync_folder, write_atomically
from nvae_core.training.checkpoint import MEASURED_PREFIX
from nvae_core.training.state import TrainingState


@dataclass(frozen=True)
class Snapshot:
    """A training state as it was at one step, on the CPU; training goes on without it."""

    manifest: CheckpointManifest  # without its files, which are not written yet
    model: dict[str, Tensor]
    training: dict[str, Tensor]

    @property
    def folder_name(self) -> str:
        """Name of its folder among checkpoints; names sort by step."""
        return checkpoint_name(self.manifest.step)

    @property
    def num_bytes(self) -> int:
        """Size of its tensors."""
        return sum(tensor.nbytes for tensor in (*self.model.values(), *self.training.values()))


def take_snapshot(
    state: TrainingState,
    *,
    optimization: OptimizationConfig,
    seed: int,
    compute: ComputeConfig | None = None,
    trained_on: TrainedOn | None = None,
) -> Snapshot:
    """Copy a state."""
    measured = state.measured.tensors()
    manifest = CheckpointManifest(
        step=state.step,
        seed=seed,
        model=state.model.config,
        optimization=optimization,
        compute=compute,
        trained_on=trained_on,
        files={},
    )
    return Snapshot(
        manifest,
        model=_copy(state.model.state_dict()),
        training=_copy(
            state.training_tensors()
            | {f"{MEASURED_PREFIX}{name}": value for name, value in measured.items()}
        ),
    )


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a checkpoint as this folder, which appears complete, or not at all.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        files = {
            MODEL_NAME: _write_tensors(temporary / MODEL_NAME, snapshot.model),
            TRAINING_NAME: _write_tensors(temporary / TRAINING_NAME, snapshot.training),
        }
        manifest = snapshot.manifest.model_copy(update={"files": files})
        write_atomically(temporary / MANIFEST_NAME, manifest.model_dump_json(indent=2).encode())
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
    finally:  # a full disk must not be left fuller
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(path.parent)


def save_checkpoint(
    folder: Path, state: TrainingState, *, optimization: OptimizationConfig, seed: int
) -> Path:
    """Write `step_00000120` into a folder of checkpoints and return its path."""
    snapshot = take_snapshot(state, optimization=optimization, seed=seed)
    path = folder / snapshot.folder_name
    write_snapshot(path, snapshot)
    return path


def _copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> FileRecord:
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise _as_os_error(error, path) from error
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return FileRecord(num_bytes=path.stat().st_size, sha256=file_sha256(path))


def _as_os_error(error: SafetensorError, path: Path) -> OSError:
    # The library has one class for all; the operating system's number is in its text.
    found = re.search(r"os error (\d+)", str(error))
    number = int(found[1]) if found else 0
    return OSError(number, os.strerror(number) if found else str(error), str(path))
