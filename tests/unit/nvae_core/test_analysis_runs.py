import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from nvae_core.analysis.context import Context
from nvae_core.analysis.experiments.nearest_images import compare
from nvae_core.analysis.run import analyze_run
from nvae_core.config import (
    RUN_CONFIG,
    BundledSource,
    ModelConfig,
    OptimizationConfig,
)
from nvae_core.data.invalid import InvalidDataset
from nvae_core.data.prepared import open_prepared, write_prepared
from nvae_core.data.streams import stream_arrays
from nvae_core.run_directory import (
    ArtifactLine,
    InvalidRunDirectory,
    MetricsLine,
    Result,
    RunDirectory,
)
from nvae_core.training.snapshot import save_checkpoint
from nvae_core.training.state import start_training

CPU = torch.device("cpu")
FIELDS: dict[str, dict[str, object]] = {
    "nearest_images": {"num_samples": 2, "num_neighbours": 3},
    "temperature_table": {
        "temperatures": [0.5, 1.0],
        "num_images": 4,
        "re_estimation_draws": 2,
    },
    "scale_traversal": {"num_samples": 3, "fixed_scales": [0, 1, 2]},
    "reconstructions": {"indices": [3, 0]},
    "interpolations": {"pairs": [[0, 1]], "num_steps": 3},
}
OF_SPLITS = ["nearest_images", "reconstructions", "interpolations"]


class Analyses:
    """Runs of analyses of one checkpoint and one data set."""

    def __init__(self, folder: Path, model: ModelConfig, dataset: Path) -> None:
        optimization = OptimizationConfig(epochs=1, batch_size=4, warmup_epochs=0)
        state = start_training(model, optimization, seed=0, device=CPU)
        self.folder = folder
        self.dataset = dataset
        self.checkpoint = save_checkpoint(folder, state, optimization=optimization, seed=0)

    def run(
        self, analysis: str, *, stop: bool = False, **fields: object
    ) -> tuple[Result, RunDirectory]:
        run = RunDirectory(self.folder / f"run_{len(list(self.folder.glob('run_*')))}")
        run.path.mkdir()
        given: dict[str, object] = {"kind": "analyze", "analysis": analysis}
        if analysis in FIELDS:
            given |= {"checkpoint": str(self.checkpoint), **FIELDS[analysis]}
        if analysis in OF_SPLITS:
            given["dataset"] = str(self.dataset)
        config = RUN_CONFIG.validate_python(given | fields)
        assert config.kind == "analyze"
        return analyze_run(config, Context(run, CPU, lambda: stop)), run


@pytest.fixture
def analyses(
    tmp_path: Path, model_config: ModelConfig, dataset: Path, one_thread: None
) -> Analyses:
    return Analyses(tmp_path, model_config, dataset)


def numbers(run: RunDirectory, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((run.samples / f"{name}.json").read_bytes())
    return found


@pytest.mark.parametrize("analysis", FIELDS)
def test_picture_and_numbers_are_artifacts_and_say_what_they_are_of(
    analyses: Analyses, analysis: str
) -> None:
    result, run = analyses.run(analysis, seed=5)
    assert (result.status, result.step) == ("succeeded", 0)
    reported = {line.name for _, line in run.read_progress() if isinstance(line, ArtifactLine)}
    assert {f"{analysis}.png", f"{analysis}.json"} <= reported
    with Image.open(run.samples / f"{analysis}.png") as image:
        assert image.size[0] >= 700
        assert "Software" not in image.info
    found = numbers(run, analysis)
    assert found["seed"] == 5
    assert found["checkpoint"] == {
        "name": "step_00000000",
        "step": 0,
        "model_sha256": found["checkpoint"]["model_sha256"],
    }
    assert ("dataset" in found) == (analysis in OF_SPLITS)
    assert str(analyses.folder) not in json.dumps(found)


@pytest.mark.parametrize("analysis", ["nearest_images", "reconstructions"])
def test_bytes_depend_on_the_configuration_alone(analyses: Analyses, analysis: str) -> None:
    _, first = analyses.run(analysis)
    _, second = analyses.run(analysis)
    for name in (f"{analysis}.png", f"{analysis}.json"):
        assert (first.samples / name).read_bytes() == (second.samples / name).read_bytes()


@pytest.mark.parametrize("analysis", ["nearest_images", "temperature_table", "interpolations"])
def test_stopped_analysis_leaves_nothing(analyses: Analyses, analysis: str) -> None:
    result, run = analyses.run(analysis, stop=True)
    assert result.status == "stopped"
    assert not run.samples.exists()


def test_copied_image_is_found_and_nearer_than_all_held_out_ones(
    model_config: ModelConfig, dataset: Path
) -> None:
    split, test = open_prepared(dataset, "train"), open_prepared(dataset, "test")
    samples = np.stack([split.images[17], test.images[0]])
    found = compare(samples, split, np.array(test.images), model=model_config, num_neighbours=2)
    copied, other = found.samples
    assert (copied.indices[0], copied.distances[0]) == (17, 0)
    assert copied.share_of_held_out_nearer == 0
    assert other.distances[0] == found.held_out[0] > 0


def test_without_a_test_split_there_is_nothing_to_compare_with(analyses: Analyses) -> None:
    _, run = analyses.run("nearest_images", split="test")
    found = numbers(run, "nearest_images")
    assert found["held_out"] is None
    assert found["samples"][0]["share_of_held_out_nearer"] is None


def test_samples_are_equal_where_all_scales_are_fixed(analyses: Analyses) -> None:
    _, run = analyses.run("scale_traversal", num_samples=8)
    rows = numbers(run, "scale_traversal")["rows"]
    assert [row["fixed_groups"] for row in rows] == [0, 1, 3]
    spreads = [row["pixel_spread"] for row in rows]
    assert min(spreads[:2]) > spreads[2] == 0


def test_re_estimated_statistics_are_kept_and_used_again(analyses: Analyses) -> None:
    _, first = analyses.run("temperature_table")
    statistics = sorted(str(path) for path in first.samples.glob("*.safetensors"))
    assert len(statistics) == 2
    _, second = analyses.run("temperature_table", statistics=statistics)
    assert not list(second.samples.glob("*.safetensors"))
    picture = "temperature_table.png"
    assert (first.samples / picture).read_bytes() == (second.samples / picture).read_bytes()


@pytest.mark.parametrize(
    ("analysis", "fields", "field"),
    [
        ("scale_traversal", {"fixed_scales": [0, 3]}, "fixed_scales"),
        ("reconstructions", {"indices": [10]}, "indices"),
        ("interpolations", {"pairs": [[0, 10]]}, "pairs"),
        ("nearest_images", {"num_neighbours": 11, "split": "test"}, "num_neighbours"),
        ("training_curves", {"runs": [{"name": "a", "path": "nowhere"}]}, r"runs\.0\.path: a"),
    ],
)
def test_what_is_not_there_is_named(
    analyses: Analyses, analysis: str, fields: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRunDirectory, match=f"^{field}: "):
        analyses.run(analysis, **fields)


@pytest.mark.parametrize("analysis", OF_SPLITS)
def test_images_of_another_shape_or_split_are_refused(analyses: Analyses, analysis: str) -> None:
    other = analyses.folder / "other"
    images = np.zeros((4, 12, 12, 3), np.uint8)
    write_prepared(other, stream_arrays(train=images), BundledSource(name="mnist_5k"))
    with pytest.raises(InvalidDataset, match=r"^dataset: .*colour"):
        analyses.run(analysis, dataset=str(other))
    with pytest.raises(InvalidDataset, match=r"^split: .*validation"):
        analyses.run(analysis, split="validation")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"analysis": "scale_traversal", "temperature": 0}, "temperature"),
        ({"analysis": "scale_traversal", "temperature": float("nan")}, "temperature"),
        ({"analysis": "scale_traversal", "temperature": float("inf")}, "temperature"),
        ({"analysis": "scale_traversal", "num_samples": 17}, "num_samples"),
        ({"analysis": "scale_traversal", "dataset": "d"}, "dataset"),
        ({"analysis": "temperature_table", "temperatures": [0.5, -1]}, "temperatures"),
        ({"analysis": "temperature_table", "temperatures": [0.5, 0.5]}, "temperatures"),
        ({"analysis": "nearest_images", "dataset": "d", "num_samples": 65}, "num_samples"),
        ({"analysis": "reconstructions", "dataset": "d", "indices": [-1]}, "indices"),
        ({"analysis": "reconstructions", "dataset": "d", "indices": []}, "indices"),
        ({"analysis": "interpolations", "dataset": "d", "pairs": [[1]]}, "pairs"),
    ],
)
def test_impossible_field_is_named(fields: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        RUN_CONFIG.validate_python({"kind": "analyze", "checkpoint": "c", **fields})


def test_runs_need_names_that_differ() -> None:
    runs = [{"name": "a", "path": "1"}, {"name": "a", "path": "2"}]
    with pytest.raises(ValidationError, match="two have the name 'a'"):
        RUN_CONFIG.validate_python({"kind": "analyze", "analysis": "active_channels", "runs": runs})


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    run = RunDirectory(tmp_path / "recorded")
    run.path.mkdir()
    for step in (10, 20, 30):
        values = {"loss": 900.0 / step, "kl": float("nan"), "spectral_weight": 0.1}
        values |= {"active_channels": 7.0, "active_channels/group_00": 4.0}
        values |= {"active_channels/group_01": 3.0}
        run.append(MetricsLine(at=0, step=step, values=values))
    return run.path


@pytest.mark.parametrize(
    ("analysis", "metrics"),
    [
        ("training_curves", {"loss", "kl", "spectral_weight"}),
        (
            "active_channels",
            {"active_channels", "active_channels/group_00", "active_channels/group_01"},
        ),
    ],
)
def test_runs_are_drawn_from_their_progress_without_a_checkpoint(
    analyses: Analyses, recorded: Path, analysis: str, metrics: set[str]
) -> None:
    runs = [
        {"name": "a $x$", "path": str(recorded)},
        {"name": "b", "path": str(recorded / "progress.jsonl")},
    ]
    result, run = analyses.run(analysis, runs=runs)
    assert result.status == "succeeded"
    assert (run.samples / f"{analysis}.png").exists()
    found = numbers(run, analysis)["runs"]
    assert found["a $x$"] == found["b"]
    assert set(found["b"]) == metrics
