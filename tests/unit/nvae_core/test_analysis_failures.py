"""Analyses that cannot be made end with a reason, and leave no picture."""

from pathlib import Path

import pytest
import torch
from analyses import OF_IMAGES, artifacts, save_untrained

from nvae_core.cli import analyze
from nvae_core.config import TrainConfig
from nvae_core.model.nvae import NVAE
from nvae_core.run_directory import RunDirectory

OF_CHECKPOINT = [
    {"analysis": "nearest_images", "num_samples": 2},
    {"analysis": "temperature_table", "num_images": 2, "re_estimation_draws": 2},
    {"analysis": "scale_traversal", "num_samples": 2},
    {"analysis": "reconstructions", "images": [0, 1]},
    {"analysis": "interpolation", "images": [0, 1]},
]
each_of_checkpoint = pytest.mark.parametrize(
    "fields", OF_CHECKPOINT, ids=[str(fields["analysis"]) for fields in OF_CHECKPOINT]
)


def spoil(model: NVAE) -> None:
    for parameter in model.decoder.parameters():
        torch.nn.init.constant_(parameter, torch.nan)


@each_of_checkpoint
def test_model_without_finite_values_is_a_corrupt_checkpoint(
    run_analysis, tmp_path: Path, train_config: TrainConfig, fields
) -> None:
    spoiled = save_untrained(tmp_path / "spoiled", train_config, change=spoil)
    result, run = run_analysis(checkpoint=str(spoiled), **fields)
    assert (result.status, result.reason) == ("failed", "checkpoint_corrupt")
    assert result.message == "checkpoint: its model gives values that are not finite"
    assert artifacts(run) == {}


@each_of_checkpoint
def test_every_analysis_of_a_checkpoint_stops_when_asked(run_analysis, monkeypatch, fields) -> None:
    monkeypatch.setattr(RunDirectory, "stop_requested", lambda run: True)
    result, run = run_analysis(**fields)
    assert (result.status, result.reason) == ("stopped", "stopped")
    assert artifacts(run) == {}


@pytest.mark.parametrize(
    ("field", "fields"),
    [("checkpoint", fields) for fields in OF_CHECKPOINT]
    + [("dataset", fields) for fields in OF_CHECKPOINT if fields["analysis"] in OF_IMAGES],
)
def test_what_is_not_there_is_named_by_its_field(run_analysis, field: str, fields) -> None:
    result, run = run_analysis(**fields | {field: "nowhere"})
    reasons = {"checkpoint": "checkpoint_corrupt", "dataset": "invalid_dataset"}
    assert (result.status, result.reason) == ("failed", reasons[field])
    assert result.message.startswith(f"{field}: {run.path / 'nowhere'}")


def test_a_damaged_split_is_named_by_its_field(run_analysis, train_config: TrainConfig) -> None:
    (Path(train_config.dataset) / "test.npy").write_bytes(b"")
    result, _ = run_analysis(analysis="reconstructions", images=[0])
    assert result.reason == "invalid_dataset"
    assert result.message.startswith("dataset: ")


def test_several_ranks_of_an_analysis_are_refused(run: RunDirectory, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("sys.argv", ["analyze", str(run.path)])
    assert analyze.main() == 2
    assert "one process" in capsys.readouterr().err
    assert run.read_result() is None
