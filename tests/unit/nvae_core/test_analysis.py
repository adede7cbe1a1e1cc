"""The appendix's experiments: their numbers have known answers, their pictures are whole."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from analyses import OF_IMAGES, artifacts
from PIL import Image
from pydantic import ValidationError

from nvae_core.analysis import nearest
from nvae_core.analysis.mixing import BATCH_SIZE, mix, reconstruct
from nvae_core.analysis.nearest import coarse_centres, find_nearest
from nvae_core.analysis.of_neighbours import choose_evenly, compare_with_held_out
from nvae_core.analysis.of_samples import pixel_spread
from nvae_core.config import RUN_CONFIG, BundledSource, ModelConfig
from nvae_core.data.pixels import seen_levels
from nvae_core.data.prepared import write_prepared
from nvae_core.data.streams import stream_arrays
from nvae_core.model.nvae import NVAE
from nvae_core.sampling.draw import SamplingStopped


def random_images(count: int, size: int = 16, colors: int = 3, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, size, size, colors), np.uint8)


def test_planted_copies_are_found_at_distance_zero_across_blocks(monkeypatch) -> None:
    images = random_images(50)
    monkeypatch.setattr(nearest, "BLOCK_BYTES", 7 * images[0].nbytes)
    found = find_nearest(images[[3, 48]], images, 1)
    assert found.indices.tolist() == [[3], [48]]
    assert found.distances.max() == 0


def test_all_neighbours_are_those_of_a_search_without_blocks(monkeypatch) -> None:
    images, queries = random_images(50), random_images(4, seed=1)
    monkeypatch.setattr(nearest, "BLOCK_BYTES", 7 * images[0].nbytes)
    found = find_nearest(queries, images, 5)
    rows, others = coarse_centres(queries), coarse_centres(images)
    distances = np.sqrt(((rows[:, None] - others[None]) ** 2).mean(axis=2)) / 255
    assert np.array_equal(found.indices, np.argsort(distances, axis=1)[:, :5])
    np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :5], rtol=1e-9)


def test_of_equal_images_the_first_comes_first_and_there_are_no_more_than_there_are() -> None:
    images = np.repeat(random_images(1), 3, axis=0)
    found = find_nearest(images[:1], images, 5)
    assert found.indices.tolist() == [[0, 1, 2]]


def test_distance_is_of_four_by_four_means_of_the_centre_alone() -> None:
    image = np.zeros((1, 16, 16, 1), np.uint8)
    other = image.copy()
    other[0, :4] = other[0, 12:] = 255  # outside of the centre
    assert find_nearest(image, other, 1).distances.tolist() == [[0.0]]
    other[0, 4, 4] = 255  # one pixel of sixteen in one of four coarse ones
    expected = math.sqrt((1 / 16) ** 2 / 4)
    assert find_nearest(image, other, 1).distances[0, 0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("size", "side"), [(4, 1), (12, 3), (28, 5), (30, 5), (32, 4), (64, 8), (256, 32)]
)
def test_centre_of_every_size_is_whole_coarse_pixels(size: int, side: int) -> None:
    images = np.zeros((1, size, size, 1), np.uint8)
    assert coarse_centres(images).shape == (1, side * side)


def test_mixture_begins_at_one_image_and_ends_at_the_other(
    model: NVAE, padded_images: torch.Tensor
) -> None:
    model.eval()
    way = mix(model, padded_images[:2], torch.tensor([0.0, 0.5, 1.0]))
    zeros = [torch.zeros(shape) for shape in model.noise_shapes(2)]
    ends = reconstruct(model, padded_images[:2], zeros).images
    torch.testing.assert_close(way[0], ends[0])
    torch.testing.assert_close(way[2], ends[1])
    assert not torch.allclose(way[1], way[0])


def test_way_stops_before_its_next_batch(model: NVAE, padded_images: torch.Tensor) -> None:
    model.eval()
    answers = iter([False, True])
    share = torch.linspace(0, 1, BATCH_SIZE + 1)
    with pytest.raises(SamplingStopped):
        mix(model, padded_images[:2], share, should_stop=lambda: next(answers))
    assert next(answers, None) is None


def test_batches_of_a_way_are_as_one(model: NVAE, padded_images: torch.Tensor, monkeypatch) -> None:
    model.eval()
    share = torch.linspace(0, 1, 5)
    whole = mix(model, padded_images[:2], share)
    monkeypatch.setattr("nvae_core.analysis.mixing.BATCH_SIZE", 2)
    torch.testing.assert_close(mix(model, padded_images[:2], share), whole)


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


def test_nearest_images_tell_how_near_new_images_are(run_analysis) -> None:
    _, run = run_analysis(analysis="nearest_images", num_samples=3, num_neighbours=2)
    record = json.loads(artifacts(run)["nearest_images.json"])
    assert np.shape(record["indices"]) == np.shape(record["distances"]) == (3, 2)
    quartiles = record["held_out_nearest_distance_quartiles"]
    assert quartiles == sorted(quartiles)
    assert record["median_nearest_distance"] > 0
    shares = np.array(record["shares_of_held_out_nearer"])
    distances = json.loads(artifacts(run)["nearest_distances.json"])
    assert len(distances["held_out"]) == 10
    nearer = [np.mean(np.less(distances["held_out"], own)) for own in distances["samples"]]
    assert shares.tolist() == nearer


def test_held_out_images_are_of_the_whole_split() -> None:
    images = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)
    assert choose_evenly(images, 5).ravel().tolist() == [0, 25, 50, 74, 99]
    assert len(choose_evenly(images[:3], 5)) == 3


def test_copy_has_no_held_out_image_that_is_as_near() -> None:
    found = compare_with_held_out(np.array([0.0, 0.5]), np.array([0.2, 0.4, 0.6, 0.8]))
    assert found["shares_of_held_out_nearer"] == [0, 0.5]


def test_images_are_compared_with_the_levels_that_the_model_knows() -> None:
    model = ModelConfig(
        image_size=4,
        num_colors=3,
        bit_depth=1,
        image_distribution="logistic_mixture",
        num_groups_per_scale=(1,),
    )
    levels = seen_levels(model)
    assert sorted({*levels[:128].tolist()}) == [0]
    assert sorted({*levels[128:].tolist()}) == [255]
    image = np.full((1, 4, 4, 3), 130, np.uint8)
    assert find_nearest(np.full_like(image, 255), image, 1, levels=levels).distances[0, 0] == 0


def test_search_stops_before_the_next_block(monkeypatch) -> None:
    images = random_images(50)
    monkeypatch.setattr(nearest, "BLOCK_BYTES", 7 * images[0].nbytes)
    answers = iter([False, False, True])
    with pytest.raises(SamplingStopped):
        find_nearest(images[:1], images, 1, should_stop=lambda: next(answers))
    assert next(answers, None) is None


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
