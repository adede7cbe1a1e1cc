"""Continuing a training from a checkpoint."""

from pathlib import Path

from nvae_core.checkpoint import (
    MANIFEST_NAME,
    TRAINING_NAME,
    CheckpointCorrupt,
    CheckpointManifest,
    load_into,
    read_manifest,
    read_tensors,
)
from nvae_core.config import ModelConfig
from nvae_core.training.state import TrainingState, under

MEASURED_PREFIX = "measured/"


def restore_training(state: TrainingState, folder: Path) -> CheckpointManifest:
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
    load_into(state.model, folder, manifest)
    tensors = read_tensors(folder, TRAINING_NAME, manifest)
    measured = under(MEASURED_PREFIX, tensors)
    try:
        state.load_training_tensors(tensors)
        if measured:  # an imported checkpoint has measured nothing
            state.measured.load_tensors(measured)
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointCorrupt(f"{folder / TRAINING_NAME}: {error}") from error
    state.step = manifest.step
    return manifest


def _describe_difference(saved: ModelConfig, configured: ModelConfig) -> str:
    ours = configured.model_dump()
    return "; ".join(
        f"model.{name} is {ours[name]}, in the checkpoint {value}"
        for name, value in saved.model_dump().items()
        if value != ours[name]
    )
