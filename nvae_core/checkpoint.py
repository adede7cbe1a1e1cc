"""Checkpoints: what is in them, and reading their model; each file is verified before its use."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nvae_core.config import ComputeConfig, ModelConfig, OptimizationConfig, PositiveInt
from nvae_core.model.nvae import NVAE, build_model
from nvae_core.run_directory import describe_errors, file_sha256

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
