"""Checkpoints: written so that they are complete or absent, verified before they are used."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nvae_core.config import ModelConfig, OptimizationConfig
from nvae_core.model.nvae import NVAE, build_model
from nvae_core.run_directory import describe_errors, file_sha256, sync_folder, write_atomically
from nvae_core.training.state import TrainingState

MANIFEST_NAME = "checkpoint.json"
MODEL_NAME = "model.safetensors"
TRAINING_NAME = "training.safetensors"


class CheckpointCorrupt(ValueError):
    """A checkpoint is missing, damaged, or does not fit; the message names the file."""


class FileRecord(BaseModel):
    """Size and hash of one file of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_bytes: int
    sha256: str


class CheckpointManifest(BaseModel):
    """Contents of `checkpoint.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    step: int
    seed: int
    model: ModelConfig
    optimization: OptimizationConfig
    files: dict[str, FileRecord]


def save_checkpoint(
    folder: Path, state: TrainingState, *, optimization: OptimizationConfig, seed: int
) -> Path:
    """Write `step_00000120` into the folder of checkpoints and return its path."""
    path = folder / f"step_{state.step:08d}"
    write_checkpoint(path, state, optimization=optimization, seed=seed)
    return path


def write_checkpoint(
    path: Path, state: TrainingState, *, optimization: OptimizationConfig, seed: int
) -> None:
    """Write a checkpoint as this folder, which appears complete, or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _write_files(temporary, state, optimization=optimization, seed=seed)
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
    finally:  # a full disk must not be left fuller
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(path.parent)


def _write_files(
    folder: Path, state: TrainingState, *, optimization: OptimizationConfig, seed: int
) -> None:
    files = {
        MODEL_NAME: _write_tensors(folder / MODEL_NAME, state.model.state_dict()),
        TRAINING_NAME: _write_tensors(folder / TRAINING_NAME, state.training_tensors()),
    }
    manifest = CheckpointManifest(
        step=state.step,
        seed=seed,
        model=state.model.config,
        optimization=optimization,
        files=files,
    )
    write_atomically(folder / MANIFEST_NAME, manifest.model_dump_json(indent=2).encode())


def drop_old_checkpoints(folder: Path, *, keep_last: int) -> None:
    """Delete all but the last checkpoints of a folder; a reader sees each whole or not at all."""
    for path in sorted(folder.glob("step_*"))[:-keep_last]:
        shutil.rmtree(path.rename(path.with_name(f".dropped_{path.name}")))


def load_model(folder: Path, device: torch.device) -> tuple[NVAE, CheckpointManifest]:
    """Load the model of a checkpoint, in evaluation mode; `training.safetensors` may be absent.

    Raises:
        CheckpointCorrupt: a file is missing, damaged, or not of this model.
    """
    manifest = read_manifest(folder)
    model = build_model(manifest.model, seed=0)
    _load_into(model, folder, manifest)
    return model.to(device).eval(), manifest


def restore_training(state: TrainingState, folder: Path) -> None:
    """Continue from a checkpoint: replace all of the state by it.

    Raises:
        CheckpointCorrupt: a file is missing, damaged, or not of this model.
    """
    manifest = read_manifest(folder)
    if manifest.model != state.model.config:
        raise CheckpointCorrupt(
            f"{folder / MANIFEST_NAME}: the model is not the one of this configuration; "
            f"{_describe_difference(manifest.model, state.model.config)}"
        )
    _load_into(state.model, folder, manifest)
    tensors = _read_tensors(folder, TRAINING_NAME, manifest)
    try:
        state.load_training_tensors(tensors)
    except (KeyError, RuntimeError) as error:
        raise CheckpointCorrupt(f"{folder / TRAINING_NAME}: {error}") from error
    state.step = manifest.step


def read_manifest(folder: Path) -> CheckpointManifest:
    """Read `checkpoint.json`.

    Raises:
        CheckpointCorrupt: it is missing or not valid.
    """
    path = folder / MANIFEST_NAME
    try:
        return CheckpointManifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CheckpointCorrupt(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise CheckpointCorrupt(f"{path}: {describe_errors(error)}") from error


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> FileRecord:
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return FileRecord(num_bytes=path.stat().st_size, sha256=file_sha256(path))


def _read_tensors(folder: Path, name: str, manifest: CheckpointManifest) -> dict[str, Tensor]:
    path = folder / name
    try:
        record = manifest.files[name]
        if path.stat().st_size != record.num_bytes or file_sha256(path) != record.sha256:
            raise CheckpointCorrupt(f"{path}: does not match the hash in {MANIFEST_NAME}")
        return load_file(path)
    except KeyError as error:
        raise CheckpointCorrupt(f"{folder / MANIFEST_NAME}: has no record of {name}") from error
    except OSError as error:
        raise CheckpointCorrupt(f"{path}: {error.strerror}") from error
    except SafetensorError as error:
        raise CheckpointCorrupt(f"{path}: {error}") from error


def _load_into(model: NVAE, folder: Path, manifest: CheckpointManifest) -> None:
    tensors = _read_tensors(folder, MODEL_NAME, manifest)
    expected = model.state_dict()
    problems = [
        *_listed("missing", expected.keys() - tensors.keys()),
        *_listed("unknown", tensors.keys() - expected.keys()),
        *_listed(
            "of another shape",
            (
                name
                for name in expected.keys() & tensors.keys()
                if expected[name].shape != tensors[name].shape
            ),
        ),
    ]
    if problems:
        raise CheckpointCorrupt(f"{folder / MODEL_NAME}: {'; '.join(problems)}")
    model.load_state_dict(tensors)


def _listed(problem: str, names: Iterable[str]) -> list[str]:
    found = sorted(names)
    return [f"{problem}: {', '.join(found[:3])} ({len(found)} tensors)"] if found else []


def _describe_difference(saved: ModelConfig, configured: ModelConfig) -> str:
    ours = configured.model_dump()
    return "; ".join(
        f"model.{name} is {ours[name]}, in the checkpoint {value}"
        for name, value in saved.model_dump().items()
        if value != ours[name]
    )
