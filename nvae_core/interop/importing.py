"""A whole import run: a checkpoint from elsewhere becomes one of the run directory's."""

import shutil
import time
from pathlib import Path

import torch

from nvae_core.checkpoint import MANIFEST_NAME, CheckpointCorrupt, CheckpointManifest, load_model
from nvae_core.config import CheckpointFolder, ImportCheckpointConfig
from nvae_core.interop.published import read_published
from nvae_core.interop.torch_file import ForeignCheckpoint
from nvae_core.model.nvae import count_parameters
from nvae_core.run_directory import CheckpointLine, Result, RunDirectory, StartedLine
from nvae_core.training.snapshot import take_snapshot, write_snapshot


def import_run(config: ImportCheckpointConfig, run: RunDirectory) -> Result:
    """Import what the configuration names; nothing in it is executed.

    Raises:
        CheckpointCorrupt: it is missing, damaged, hostile, or not of a model that we compute.
    """
    path = run.path / config.source.path
    if isinstance(config.source, CheckpointFolder):
        manifest, num_parameters = _copy_folder(path, run)
    else:
        manifest, num_parameters = _convert(path, run)
    run.append(StartedLine(at=time.time(), num_steps=1, num_parameters=num_parameters))
    name = _folder_name(manifest.step)
    line = CheckpointLine(at=time.time(), step=manifest.step, path=f"{run.checkpoints.name}/{name}")
    run.append(line)
    values = {
        "num_parameters": num_parameters,
        "model": manifest.model.model_dump(mode="json"),
        "optimization": manifest.optimization.model_dump(mode="json"),
    }
    return Result(status="succeeded", step=manifest.step, values=values)


def _convert(path: Path, run: RunDirectory) -> tuple[CheckpointManifest, int]:
    try:
        published = read_published(path)
    except ForeignCheckpoint as error:
        raise CheckpointCorrupt(str(error)) from error
    state = published.state
    snapshot = take_snapshot(state, optimization=published.optimization, seed=published.seed)
    write_snapshot(run.checkpoints / _folder_name(state.step), snapshot)
    return snapshot.manifest, count_parameters(state.model)


def _copy_folder(path: Path, run: RunDirectory) -> tuple[CheckpointManifest, int]:
    model, manifest = load_model(path, torch.device("cpu"))
    folder = run.checkpoints / _folder_name(manifest.step)
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
    return manifest, count_parameters(model)


def _folder_name(step: int) -> str:
    return f"step_{step:08d}"
