"""A whole import run: a checkpoint from elsewhere becomes one of the run directory's."""

import shutil
import time
from pathlib import Path

import torch

from nvae_core.checkpoint import (
    MANIFEST_NAME,
    CheckpointCorrupt,
    checkpoint_name,
    load_model,
    read_manifest,
)
from nvae_core.config import CheckpointFolder, ImportCheckpointConfig
from nvae_core.importing.published import read_published
from nvae_core.importing.torch_file import ForeignCheckpoint
from nvae_core.model.nvae import count_parameters
from nvae_core.run_directory import CheckpointLine, Result, RunDirectory, StartedLine
from nvae_core.training.checkpointer import save_checkpoint


def import_run(config: ImportCheckpointConfig, run: RunDirectory) -> Result:
    """Import what the configuration names; nothing in it is executed.

    Raises:
        CheckpointCorrupt: it is missing, damaged, hostile, or not of a model that we compute.
    """
    path = run.path / config.source.path
    if isinstance(config.source, CheckpointFolder):
        folder, num_parameters = _copy_folder(path, run)
    else:
        folder, num_parameters = _convert(path, run)
    manifest = read_manifest(folder)
    run.append(StartedLine(at=time.time(), num_steps=1, num_parameters=num_parameters))
    place = str(folder.relative_to(run.path))
    run.append(CheckpointLine(at=time.time(), step=manifest.step, path=place))
    values = {
        "num_parameters": num_parameters,
        "model": manifest.model.model_dump(mode="json"),
        "optimization": manifest.optimization.model_dump(mode="json"),
    }
    return Result(status="succeeded", step=manifest.step, values=values)


def _convert(path: Path, run: RunDirectory) -> tuple[Path, int]:
    try:
        published = read_published(path)
    except ForeignCheckpoint as error:
        raise CheckpointCorrupt(str(error)) from error
    state = published.state
    folder = save_checkpoint(
        run.checkpoints, state, optimization=published.optimization, seed=published.seed
    )
    return folder, count_parameters(state.model)


def _copy_folder(path: Path, run: RunDirectory) -> tuple[Path, int]:
    model, manifest = load_model(path, torch.device("cpu"))
    folder = run.checkpoints / checkpoint_name(manifest.step)
    folder.mkdir(parents=True)
    for name in (*manifest.files, MANIFEST_NAME):
        if Path(name).name != name:
            raise CheckpointCorrupt(f"{path / MANIFEST_NAME}: {name!r} is not the name of a file")
        if (path / name).is_symlink():
            raise CheckpointCorrupt(f"{path / name} is a link")
        try:
            shutil.copyfile(path / name, folder / name)
        except FileNotFoundError as error:
            raise CheckpointCorrupt(f"{path / name} is missing") from error
    return folder, count_parameters(model)
