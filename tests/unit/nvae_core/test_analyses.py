"""Whole analyses of a small checkpoint: files, numbers, bad input."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from nvae_core.analysis.run import analyze_run
from nvae_core.config import RUN_CONFIG, Analysis, BundledSource, ModelConfig, OptimizationConfig
from nvae_core.data.invalid import InvalidDataset
from nvae_core.data.prepared import open_prepared, write_prepared
from nvae_core.data.streams import stream_arrays
from nvae_core.run_directory import (
    ArtifactLine,
    InvalidRunDirectory,
    MetricsLine,
    RunDirectory,
)
from nvae_core.training.snapshot import save_checkpoint
from nvae_core.training.state import start_training

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
OF_CHECKPOINT = {
    "nearest_images": {"num_samples": 2, "num_neighbours": 3, "dataset": "given"},
    "temperature_table": {"temperatures": [0.5, 1], "num_images": 2, "re_estimation_draws": 2},
    "scale_traversal": {"num_samples": 3},
    "reconstructions": {"num_images": 3, "dataset": "given"},
    "interpolations": {"pairs": [[0, 9]], "num_steps": 3, "dataset": "given"},
}
Analyze = Callable[..., dict[str, bytes]]


@pytest.fixture
def checkpoint(tmp_path: Path, model_config: ModelConfig) -> Path:
    optimization = OptimizationConfig(epochs=6, batch_size=8)
    state = start_training(model_config, optimization, seed=0, device=CPU)
    return save_checkpoint(tmp_path / "checkpoints", state, optimization=optimization, seed=0)


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[[], RunDirectory]:
    num_runs = 0

    def make() -> RunDirectory:
        nonlocal num_runs
        num_runs += 1
        (tmp_path / f"run_{num_runs}").mkdir()
        return RunDirectory(tmp_path / f"run_{num_runs}")

    return make


@pytest.fixture
def analyze(
    new_run: Callable[[], RunDirectory], checkpoint: Path, dataset: Path
) -> Callable[..., dict[str, bytes]]:
    """Runs an analysis and returns the files that it reported, by name."""

    def run_it(analysis: str, **fields: object) -> dict[str, bytes]:
        run = new_run()
        given = OF_CHECKPOINT.get(analysis, {}) | fields
        config = parse(analysis, **given | paths(given, checkpoint, dataset))
        try:
            result = analyze_run(config, run, CPU, lambda: False)
        except Exception:
            assert not run.analysis.exists()  # nothing half-written
            raise
        assert result.status == "succeeded"
        lines = [line for _, line in run.read_progress() if isinstance(line, ArtifactLine)]
        return {line.name: (run.path / line.path).read_bytes() for line in lines}

    return run_it


def paths(fields: dict[str, Any], checkpoint: Path, dataset: Path) -> dict[str, str]:
    found = {} if "runs" in fields else {"checkpoint": str(checkpoint)}
    return found | ({"dataset": str(dataset)} if fields.get("dataset") == "given" else {})


def parse(analysis: str, **fields: object) -> Analysis:
    config = RUN_CONFIG.validate_python({"kind": "analyze", "analysis": analysis} | fields)
    assert isinstance(config, Analysis)
    return config


@pytest.mark.parametrize("analysis", OF_CHECKPOINT)
def test_picture_has_its_numbers_beside_it_and_both_are_the_same_again(
    analyze: Analyze, checkpoint: Path, analysis: str
) -> None:
    files = analyze(analysis)
    pictures = {f"{analysis}.png", f"{analysis}.json"}
    assert {name for name in files if not name.startswith("batch_norm")} == pictures
    numbers = json.loads(files[f"{analysis}.json"])
    assert numbers["checkpoint"]["name"] == checkpoint.name
    assert numbers["checkpoint"]["step"] == 0
    assert len(numbers["checkpoint"]["sha256"]) == 64
    assert numbers["options"]["analysis"] == analysis
    again = analyze(analysis)
    assert {name: again[name] for name in pictures} == {name: files[name] for name in pictures}


def test_distances_of_samples_stand_beside_those_of_held_out_images(
    analyze: Analyze, dataset: Path
) -> None:
    numbers = json.loads(analyze("nearest_images")["nearest_images.json"])
    assert (
        numbers["dataset"]["content_hash"] == open_prepared(dataset, "train").manifest.content_hash
    )
    assert numbers["held_out"]["num_images"] == 10
    for sample in numbers["samples"]:
        assert sample["distances"] == sorted(sample["distances"])
        assert len(set(sample["indices"])) == 3
        farther = [value > sample["distances"][0] for value in numbers["held_out"]["distances"]]
        assert sample["farther_held_out_share"] == sum(farther) / 10


def test_images_of_the_split_itself_are_no_held_out_images(analyze: Analyze) -> None:
    files = analyze("nearest_images", split="test")
    assert json.loads(files["nearest_images.json"])["held_out"] is None


def test_search_stops_between_blocks(
    new_run: Callable[[], RunDirectory], checkpoint: Path, dataset: Path
) -> None:
    for analysis, fields in OF_CHECKPOINT.items():
        run = new_run()
        config = parse(analysis, **fields | paths(fields, checkpoint, dataset))
        assert analyze_run(config, run, CPU, lambda: True).status == "stopped"
        assert not list(run.path.rglob("*.png"))


def test_more_scales_fixed_leave_less_to_differ(analyze: Analyze) -> None:
    files = analyze("scale_traversal", fixed_scales=[0, 2])
    rows = json.loads(files["scale_traversal.json"])["rows"]
    assert [row["fixed_groups"] for row in rows] == [0, 3]
    assert rows[0]["diversity"] > 0
    assert rows[1]["diversity"] == 0


def test_statistics_are_kept_and_can_be_handed_in(
    analyze: Analyze, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = analyze("temperature_table")
    names = [name for name in files if name.startswith("batch_norm")]
    assert names == [f"batch_norm_temperature_{t}_draws_2.safetensors" for t in ("0.5", "1.0")]
    for name in names:
        (tmp_path / name).write_bytes(files[name])
    monkeypatch.setattr("nvae_core.sampling.sampler.re_estimate_batch_norm", None)
    again = analyze("temperature_table", statistics=[str(tmp_path / name) for name in names])
    assert again["temperature_table.png"] == files["temperature_table.png"]


def test_reconstructions_of_the_first_images_are_those_of_their_indices(analyze: Analyze) -> None:
    by_default = analyze("reconstructions")
    by_index = analyze("reconstructions", indices=[0, 1, 2])
    assert by_default["reconstructions.png"] == by_index["reconstructions.png"]
    assert analyze("reconstructions", indices=[2, 1, 0]) != by_index
    losses = json.loads(by_index["reconstructions.json"])["reconstruction_losses"]
    assert len(losses) == 3
    assert min(losses) > 0


@pytest.mark.parametrize("analysis", ["active_channels", "training_curves"])
def test_runs_are_drawn_without_a_checkpoint(
    analyze: Analyze, tmp_path: Path, analysis: str
) -> None:
    values = {"loss": 3.0, "kl": 2.0, "spectral_weight": 0.1, "active_channels": 7.0}
    lines = [MetricsLine(at=0.0, step=step, values=values) for step in (1, 2)]
    path = tmp_path / "progress.jsonl"
    path.write_text("".join(f"{line.model_dump_json()}\n" for line in lines))
    runs = [{"name": name, "path": str(path)} for name in ("λ = 0.1", "λ = 1")]
    files = analyze(analysis, runs=runs)
    numbers = json.loads(files[f"{analysis}.json"])
    assert numbers["runs"] == ["λ = 0.1", "λ = 1"]
    assert all(curve["num_points"] == 2 for curve in numbers["curves"]["λ = 1"].values())
    (tmp_path / "picture.png").write_bytes(files[f"{analysis}.png"])
    with Image.open(tmp_path / "picture.png") as image:
        assert image.size[0] == 960


@pytest.mark.parametrize(
    ("analysis", "fields", "words"),
    [
        ("scale_traversal", {"fixed_scales": [0, 3]}, "fixed_scales: is 3"),
        ("reconstructions", {"indices": [0, 10]}, "indices: is 10"),
        ("interpolations", {"pairs": [[0, 1], [2, 10]]}, r"pairs\.1: is 10"),
    ],
)
def test_what_the_inputs_do_not_have_is_named(
    analyze: Analyze, analysis: str, fields: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidRunDirectory, match=words):
        analyze(analysis, **fields)


@pytest.mark.parametrize("analysis", ["nearest_images", "reconstructions", "interpolations"])
def test_images_of_another_shape_are_an_error_of_the_data_set(
    analyze: Analyze, tmp_path: Path, analysis: str
) -> None:
    images = np.zeros((4, 16, 16, 1), np.uint8)
    other = tmp_path / "other"
    write_prepared(other, stream_arrays(train=images, test=images), BundledSource(name="mnist_5k"))
    with pytest.raises(InvalidDataset, match=r"dataset: .* 16x16 pixels"):
        analyze(analysis, dataset=str(other))


@pytest.mark.parametrize(
    ("analysis", "fields", "location"),
    [
        ("nearest_images", {"temperature": 0}, "temperature"),
        ("nearest_images", {"temperature": float("inf")}, "temperature"),
        ("nearest_images", {"num_samples": 65}, "num_samples"),
        ("temperature_table", {"temperatures": [0.5, float("nan")]}, "temperatures.1"),
        ("temperature_table", {"temperatures": [0.5, 0.5]}, "temperatures"),
        ("scale_traversal", {"fixed_scales": [1, 1]}, "fixed_scales"),
        ("scale_traversal", {"dataset": "d"}, "dataset"),
        ("reconstructions", {"indices": [-1]}, "indices.0"),
        ("interpolations", {"num_steps": 1}, "num_steps"),
        ("training_curves", {"runs": [{"name": "a", "path": "p"}] * 2}, "runs"),
        ("training_curves", {"runs": [{"name": "$x$", "path": "p"}]}, "runs.0.name"),
    ],
)
def test_bad_fields_are_named(analysis: str, fields: dict[str, Any], location: str) -> None:
    given = OF_CHECKPOINT.get(analysis, {}) | ({} if "runs" in fields else {"checkpoint": "c"})
    with pytest.raises(ValidationError) as caught:
        parse(analysis, **given | fields)
    assert caught.value.errors()[0]["loc"][2:] == tuple(
        int(part) if part.isdigit() else part for part in location.split(".")
    )


def test_only_analyses_load_the_library_of_pictures() -> None:
    programs = "train, nvae_core.cli.sample, nvae_core.cli.evaluate, nvae_core.cli.resident_sampler"
    words = f"import sys, nvae_core.cli.{programs}; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
