"""Imports as runs: what is left in the run directory, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from published_files import MODEL, save_published

from nvae_core.checkpoint import CheckpointCorrupt, load_model
from nvae_core.config import ImportCheckpointConfig, ModelConfig, OptimizationConfig
from nvae_core.importing.run import import_run
from nvae_core.model.nvae import build_model
from nvae_core.run_directory import CheckpointLine, Result, RunDirectory, StartedLine
from nvae_core.training.checkpointer import save_checkpoint
from nvae_core.training.state import start_training

CPU = torch.device("cpu")
Import = Callable[..., tuple[Result, RunDirectory]]


@pytest.fixture
def import_from(tmp_path: Path) -> Import:
    """Return a function that imports into a new run directory."""

    def run(kind: str, path: Path) -> tuple[Result, RunDirectory]:
        directory = RunDirectory(tmp_path / "run")
        config = ImportCheckpointConfig.model_validate(
            {"source": {"kind": kind, "path": str(path)}}
        )
        directory.create(config)
        return import_run(config, directory), directory

    return run


@pytest.fixture
def own(tmp_path: Path, model_config: ModelConfig) -> Path:
    optimization = OptimizationConfig(epochs=1, batch_size=4, warmup_epochs=0)
    state = start_training(model_config, optimization, seed=0, device=CPU)
    return save_checkpoint(tmp_path / "own", state, optimization=optimization, seed=0)


def test_published_file_becomes_a_checkpoint(import_from: Import, tmp_path: Path) -> None:
    model = build_model(MODEL, seed=5)
    result, run = import_from("published", save_published(tmp_path / "c.pt", model))
    assert (result.status, result.step) == ("succeeded", 3)
    assert ModelConfig.model_validate_json(json.dumps(result.values["model"])) == MODEL
    started, line = [line for _, line in run.read_progress()]
    assert isinstance(started, StartedLine)
    assert isinstance(line, CheckpointLine)
    loaded, manifest = load_model(run.path / line.path, CPU)
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert manifest.step == line.step == 3


def test_folder_is_copied_whole(import_from: Import, own: Path) -> None:
    result, run = import_from("folder", own)
    copied = run.checkpoints / own.name
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == {
        path.name: path.read_bytes() for path in own.iterdir()
    }
    assert result.values["num_parameters"] == sum(
        parameter.numel() for parameter in load_model(own, CPU)[0].parameters()
    )


def test_damaged_file_is_refused(import_from: Import, own: Path) -> None:
    path = own / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointCorrupt, match="does not match the hash"):
        import_from("folder", own)


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "training.safetensors"])
def test_manifest_that_names_what_is_not_in_the_folder_is_refused(
    import_from: Import, own: Path, name: str
) -> None:
    (own / "training.safetensors").unlink()
    manifest = json.loads((own / "checkpoint.json").read_bytes())
    del manifest["files"]["training.safetensors"]
    manifest["files"][name] = {"num_bytes": 1, "sha256": "0" * 64}
    (own / "checkpoint.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointCorrupt, match=name.rsplit("/", maxsplit=1)[-1]):
        import_from("folder", own)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02cos\nsystem\n(S'true'\ntR."])
def test_file_that_is_no_checkpoint_is_refused(
    import_from: Import, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(CheckpointCorrupt, match=r"c\.pt"):
        import_from("published", tmp_path / "c.pt")


def test_link_in_a_folder_is_not_followed(import_from: Import, own: Path, tmp_path: Path) -> None:
    target = tmp_path / "training.safetensors"
    (own / "training.safetensors").rename(target)
    (own / "training.safetensors").symlink_to(target)
    with pytest.raises(CheckpointCorrupt, match="link"):
        import_from("folder", own)
