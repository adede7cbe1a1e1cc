"""Checkpoints: what is in them, and reading their model; each file is verified before its use."""

import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nvae_core.config import ComputeConfig, ModelConfig, OptimizationConfig, PositiveInt
from nvae_core.model.nvae import NVAE, build_model
from nvae_core.run_directory import (
    describe_errors,
    file_sha256,
    sync_folder,
    write_atomically,
)

MANIFEST_NAME = "checkpoint.json"
MODEL_NAME = "model.safetensors"
TRAINING_NAME = "training.safetensors"


def checkpoint_name(step: int) -> str:
    """Return the name of a checkpoint's folder among others; names sort by step."""
    return f"step_{step:08d}"


class CheckpointCorrupt(ValueError):
    """A checkpoint is missing, damaged, or does not fit; the message names the file."""


class FileRecord(BaseModel):
    """Size and hash of one file of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_bytes: int
    sha256: str


class TrainedOn(BaseModel):
    """What the order of the images and their noise depended on, besides the seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    world_size: PositiveInt
    global_batch_size: PositiveInt  # images of one step, on all ranks
    dataset_hash: str


class CheckpointManifest(BaseModel):
    """Contents of `checkpoint.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    step: NonNegativeInt
    seed: int
    model: ModelConfig
    optimization: OptimizationConfig
    compute: ComputeConfig | None = None  # not known of an imported one
    trained_on: TrainedOn | None = None  # nor this
    files: dict[str, FileRecord]


def load_model(folder: Path, device: torch.device) -> tuple[NVAE, CheckpointManifest]:
    """Load the model of a checkpoint, in evaluation mode; `training.safetensors` may be absent.

    Raises:
        CheckpointCorrupt: a file is missing, damaged, or not of this model.
    """
    manifest = read_manifest(folder)
    model = build_model(manifest.model, seed=0)
    load_into(model, folder, manifest)
    return model.to(device).eval(), manifest


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


def read_tensors(folder: Path, name: str, manifest: CheckpointManifest) -> dict[str, Tensor]:
    """Read one file of a checkpoint, after checking it against its hash; raises as `load_model`."""
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


def load_into(model: NVAE, folder: Path, manifest: CheckpointManifest) -> None:
    """Replace all of a model by the checkpoint's; raises as `load_model`."""
    tensors = read_tensors(folder, MODEL_NAME, manifest)
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


@dataclass(frozen=True)
class Snapshot:
    """A training state as it was at one step, on the CPU; training goes on without it."""

    manifest: CheckpointManifest  # without its files, which are not written yet
    model: dict[str, Tensor]
    training: dict[str, Tensor]
    wait: Callable[[], None] = lambda: None  # until the tensors are complete

    @property
    def folder_name(self) -> str:
        """Name of its folder among checkpoints; names sort by step."""
        return checkpoint_name(self.manifest.step)

    @property
    def num_bytes(self) -> int:
        """Size of its tensors."""
        return sum(tensor.nbytes for tensor in (*self.model.values(), *self.training.values()))


def write_checkpoint(path: Path, snapshot: Snapshot) -> None:
    """Write a checkpoint as this folder, which appears complete, or not at all.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    snapshot.wait()
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


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> FileRecord:
    try:
        save_file({name: _on_its_own(tensor) for name, tensor in tensors.items()}, path)
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


def _on_its_own(tensor: Tensor) -> Tensor:
    """Return a tensor in the order of its dimensions, that shares its memory with no other."""
    if tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)
