"""The appendix's experiments: whole pictures with their numbers, or a reason and no picture."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from analyses import OF_IMAGES, artifacts, random_images, save_untrained
from PIL import Image
from pydantic import ValidationError
from torch._subclasses import FakeTensorMode

from nvae_core.analysis.experiments import reconstruction
from nvae_core.analysis.experiments.interpolation import interpolate
from nvae_core.analysis.experiments.reconstruction import MAX_BATCH_SIZE, batch_size, reconstruct
from nvae_core.analysis.experiments.scales import pixel_spread
from nvae_core.cli import analyze
from nvae_core.config import RUN_CONFIG, BundledSource, TrainConfig
from nvae_core.data.prepare import write_prepared
from nvae_core.data.sources.stream import stream_arrays
from nvae_core.model.nvae import NVAE
from nvae_core.run_directory import RunDirectory
from nvae_core.sampling.draw import MAX_PIXELS, SamplingStopped

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


def test_mixture_begins_at_one_image_and_ends_at_the_other(
    model: NVAE, padded_images: torch.Tensor
) -> None:
    model.eval()
    way = interpolate(model, padded_images[:2], torch.tensor([0.0, 0.5, 1.0]))
    zeros = [torch.zeros(shape) for shape in model.noise_shapes(2)]
    ends = reconstruct(model, padded_images[:2], zeros).images
    torch.testing.assert_close(way[0], ends[0])
    torch.testing.assert_close(way[2], ends[1])
    assert not torch.allclose(way[1], way[0])


def test_way_stops_before_its_next_batch(model: NVAE, padded_images: torch.Tensor) -> None:
    model.eval()
    answers = iter([False, True])
    share = torch.linspace(0, 1, MAX_BATCH_SIZE + 1)
    with pytest.raises(SamplingStopped):
        interpolate(model, padded_images[:2], share, should_stop=lambda: next(answers))
    assert next(answers, None) is None


def test_batches_of_a_way_are_as_one(model: NVAE, padded_images: torch.Tensor, monkeypatch) -> None:
    model.eval()
    share = torch.linspace(0, 1, 5)
    whole = interpolate(model, padded_images[:2], share)
    monkeypatch.setattr(reconstruction, "MAX_BATCH_SIZE", 2)
    torch.testing.assert_close(interpolate(model, padded_images[:2], share), whole)


@pytest.mark.parametrize(
    ("size", "device", "expected"),
    [(32, "cpu", 8), (96, "cpu", 7), (256, "cpu", 1), (512, "cpu", 1), (512, "cuda", 4)],
)
def test_batches_are_bounded_by_pixels(size: int, device: str, expected: int) -> None:
    with FakeTensorMode():
        assert batch_size(torch.empty(32, 3, size, size, device=device)) == expected


def test_no_pass_has_more_pixels_than_the_device_takes(
    model: NVAE, padded_images: torch.Tensor, monkeypatch
) -> None:
    model.eval()
    noise = [torch.randn(shape) for shape in model.noise_shapes(4)]
    whole = reconstruct(model, padded_images, noise).images
    monkeypatch.setitem(MAX_PIXELS, "cpu", 3 * 16 * 16)
    sizes: list[int] = []
    for part in (model.encoder, model.decoder.image_head):
        part.register_forward_hook(lambda _part, inputs, _output: sizes.append(len(inputs[0])))
    torch.testing.assert_close(reconstruct(model, padded_images, noise).images, whole)
    assert sizes == [3, 3, 1, 1]
    sizes.clear()
    monkeypatch.setitem(MAX_PIXELS, "cpu", 16 * 16)
    interpolate(model, padded_images[:2], torch.linspace(0, 1, 3))
    assert sizes == [1] * 5


def test_reconstruction_has_the_negative_elbo_of_its_latents(
    model: NVAE, padded_images: torch.Tensor
) -> None:
    model.eval()
    noise = [torch.randn(shape) for shape in model.noise_shapes(4)]
    found = reconstruct(model, padded_images, noise)
    with torch.no_grad():
        expected = model(padded_images, noise)
    elbo = expected.log_prob(padded_images) - expected.kl_per_channel().sum(dim=(1, 2))
    torch.testing.assert_close(found.bits_per_dim(), -elbo / (math.log(2) * 144))


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        (
            {"analysis": "nearest_images", "num_samples": 3},
            ["nearest_images", "nearest_distances"],
        ),
        (
            {
                "analysis": "temperature_table",
                "temperatures": [0.5, 1.0],
                "num_images": 4,
                "re_estimation_draws": 2,
            },
            ["temperature_table"],
        ),
        ({"analysis": "scale_traversal", "num_samples": 3}, ["scale_traversal"]),
        ({"analysis": "reconstructions", "images": [0, 5]}, ["reconstructions"]),
        ({"analysis": "interpolation", "images": [0, 5]}, ["interpolation"]),
    ],
    ids=lambda value: value["analysis"] if isinstance(value, dict) else "",
)
def test_analysis_leaves_pictures_with_their_numbers_and_the_same_bytes_again(
    run_analysis, fields, names
) -> None:
    result, run = run_analysis(**fields)
    assert result.status == "succeeded", result.message
    assert result.values == {"pictures": [f"{name}.png" for name in names]}
    found = artifacts(run)
    for name in names:
        record = json.loads(found[f"{name}.json"])
        assert record["inputs"]["analysis"] == fields["analysis"]
        assert record["checkpoint"]["name"] == "step_00000000"
        assert len(record["checkpoint"]["model_sha256"]) == 64
        assert ("dataset" in record) == (fields["analysis"] in OF_IMAGES)
        assert str(run.path.parent) not in found[f"{name}.json"].decode()
        with Image.open(run.samples / f"{name}.png") as picture:
            assert picture.size[0] > 300
            assert picture.convert("L").getextrema()[1] == 255
    _, again = run_analysis(**fields)
    assert artifacts(again) == found


def test_sample_of_an_image_is_the_same_beside_others_and_is_not_its_mean(run_analysis) -> None:
    def bits(*images: int, **fields: object) -> list[float]:
        _, run = run_analysis(analysis="reconstructions", images=images, **fields)
        return json.loads(artifacts(run)["reconstructions.json"])["bits_per_dim"]

    pair = bits(4, 2, posterior="sample")
    assert bits(2, posterior="sample") == pytest.approx(pair[1:], rel=1e-5)
    assert bits(2, posterior="sample", seed=1) != pytest.approx(pair[1:], rel=1e-5)
    assert bits(2) != pytest.approx(pair[1:], rel=1e-5)


def test_re_estimated_statistics_are_kept_and_used_again(run_analysis) -> None:
    fields = {"temperatures": [0.5, 1.0], "num_images": 4, "re_estimation_draws": 2}
    _, first = run_analysis(analysis="temperature_table", **fields)
    statistics = sorted(str(path) for path in first.samples.glob("*.safetensors"))
    assert len(statistics) == 2
    _, second = run_analysis(analysis="temperature_table", statistics=statistics, **fields)
    names = ["temperature_table.json", "temperature_table.png"]
    assert sorted(artifacts(second)) == names
    assert all(artifacts(second)[name] == artifacts(first)[name] for name in names)
    rows = json.loads(artifacts(second)["temperature_table.json"])["rows"]
    assert [row["temperature"] for row in rows] == [0.5, 1.0]
    assert all(row["pixel_standard_deviation"].keys() == {"running", "re-estimate"} for row in rows)


def test_spread_is_the_mean_of_the_pixels_standard_deviations() -> None:
    images = np.zeros((2, 1, 2, 1), np.uint8)
    images[1, 0, 0, 0] = 255
    assert pixel_spread(images) == 0.25


def test_rows_of_a_traversal_vary_less_the_more_is_held_fixed(run_analysis) -> None:
    _, run = run_analysis(analysis="scale_traversal", num_samples=8)
    rows = json.loads(artifacts(run)["scale_traversal.json"])["rows"]
    assert [row["fixed_groups"] for row in rows] == [0, 1, 3]
    assert rows[-1]["pixel_standard_deviation"] == 0 < rows[0]["pixel_standard_deviation"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"analysis": "reconstructions", "images": [10]}, "images: 10 is not one of the 10"),
        ({"analysis": "interpolation", "images": [0, 99]}, "images: 99 is not one of the 10"),
    ],
)
def test_what_is_not_there_is_refused_by_field(run_analysis, fields, message) -> None:
    result, run = run_analysis(**fields)
    assert (result.status, result.reason) == ("failed", "invalid_config")
    assert artifacts(run) == {}
    assert re.search(message, result.message)


@pytest.mark.parametrize("analysis", sorted(OF_IMAGES))
def test_images_of_another_shape_or_split_are_refused_by_field(
    run_analysis, tmp_path: Path, analysis: str
) -> None:
    images = random_images(4, size=12)
    write_prepared(tmp_path / "other", stream_arrays(train=images), BundledSource(name="mnist_5k"))
    other = {"dataset": str(tmp_path / "other")}
    wanted = {"images": [0, 1]} if analysis != "nearest_images" else {}
    for fields, message in ((other, "dataset: .*colour"), ({"split": "validation"}, "split: ")):
        result, run = run_analysis(analysis=analysis, **wanted, **fields)
        assert (result.status, result.reason) == ("failed", "invalid_dataset")
        assert re.match(message, result.message)
        assert artifacts(run) == {}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"analysis": "nearest"}, "analysis"),
        ({"analysis": "nearest_images", "num_samples": 65}, "num_samples"),
        ({"analysis": "nearest_images", "temperature": 0}, "temperature"),
        ({"analysis": "temperature_table", "temperatures": []}, "temperatures"),
        ({"analysis": "interpolation", "images": [1]}, "images"),
        ({"analysis": "training_curves", "runs": []}, "runs"),
        ({"analysis": "temperature_table", "temperatures": [0.5, math.nan]}, "temperatures"),
        ({"analysis": "scale_traversal", "temperature": math.inf}, "temperature"),
        ({"analysis": "interpolation", "images": [3, 3]}, "images"),
        ({"analysis": "scale_traversal", "checkpoint": "a\0b"}, "checkpoint"),
        ({"analysis": "nearest_images", "dataset": "a\0b"}, "dataset"),
        ({"analysis": "scale_traversal", "checkpoint": ""}, "checkpoint"),
    ],
)
def test_bad_fields_of_an_analysis_are_named(fields: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        RUN_CONFIG.validate_python({"kind": "analyze", "checkpoint": "c", "dataset": "d"} | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"analysis": "training_curves", "runs": 2 * [{"name": "a", "path": "p"}]},
        {"analysis": "temperature_table", "checkpoint": "c", "temperatures": [0.5, 0.5]},
    ],
)
def test_what_a_picture_could_not_tell_apart_is_refused_by_field(fields) -> None:
    with pytest.raises(ValidationError) as error:
        RUN_CONFIG.validate_python({"kind": "analyze"} | fields)
    assert error.value.errors()[0]["loc"][-1] in {"runs", "temperatures"}


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
