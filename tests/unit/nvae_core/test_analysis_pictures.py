"""What the pictures of a checkpoint show: these images, in this order, under these labels."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from analyses import artifacts, save_untrained

from nvae_core.analysis.experiments.interpolation import interpolate
from nvae_core.analysis.experiments.reconstruction import reconstruct
from nvae_core.analysis.image_grid import draw_rows
from nvae_core.checkpoint import TrainedOn
from nvae_core.config import TrainConfig
from nvae_core.data.dataset import PreparedSplit, open_prepared, read_manifest
from nvae_core.data.preprocess import to_repeatable_input
from nvae_core.model.decoder import Decoder
from nvae_core.sampling.draw import draw_images
from nvae_core.sampling.grids import arrange_grid, as_bytes
from nvae_core.sampling.sampler import Sampler
from nvae_core.seeding import Stream, seeded_generator

CPU = torch.device("cpu")
MAGNIFICATION = 8  # of images of 12 pixels
Rows = Sequence[np.ndarray]
EXPERIMENTS = ("neighbours", "temperatures", "scales", "reconstruction", "interpolation")


@pytest.fixture
def sampler(tmp_path: Path, train_config: TrainConfig) -> Sampler:
    """The model that analyses are of here."""
    return Sampler.load(save_untrained(tmp_path / "same", train_config), CPU)


@pytest.fixture
def shown(run_analysis, monkeypatch) -> Callable[..., tuple[Rows, dict[str, Any], dict[str, Any]]]:
    """Return a function that returns what an analysis draws, and the JSON beside it."""
    drawn = []

    def record(rows: Rows, **labels: Any) -> bytes:
        drawn.append((rows, labels))
        return draw_rows(rows, **labels)

    for module in EXPERIMENTS:
        monkeypatch.setattr(f"nvae_core.analysis.experiments.{module}.draw_rows", record)

    def show(**fields: Any) -> tuple[Rows, dict[str, Any], dict[str, Any]]:
        result, run = run_analysis(**fields)
        assert result.status == "succeeded", result.message
        return *drawn.pop(), json.loads(artifacts(run)[f"{fields['analysis']}.json"])

    return show


@pytest.fixture
def held_out(train_config: TrainConfig) -> PreparedSplit:
    """Images of the test split."""
    return open_prepared(Path(train_config.dataset), "test")


def drawn_by(decoder: Decoder, count: int, *, temperature: float, **fields: Any):
    generator = seeded_generator(CPU, Stream.LATENTS, 3)
    return draw_images(decoder, count, temperature=temperature, generator=generator, **fields)


def test_samples_stand_beside_the_images_that_are_nearest_to_them(
    shown, sampler, train_config
) -> None:
    rows, labels, record = shown(
        analysis="nearest_images", seed=3, temperature=0.5, num_samples=3, num_neighbours=2
    )
    expected = as_bytes(drawn_by(sampler.running(), 3, temperature=0.5))
    images = open_prepared(Path(train_config.dataset), "train").images
    assert len(rows) == 3
    for row, sample, indices in zip(rows, expected, record["indices"], strict=True):
        assert np.array_equal(row, np.stack([sample, *images[indices]]))
    assert labels["column_labels"] == ["sample", "1.", "2."]
    assert labels["apart"] == 1
    assert labels["corner"] == "distance to 1."
    assert labels["row_labels"] == [f"{nearest[0]:.3f}" for nearest in record["distances"]]
    assert "temperature 0.5" in labels["title"]


def test_table_has_running_statistics_left_and_a_row_for_each_temperature(shown, sampler) -> None:
    temperatures = [1.0, 0.5]
    rows, labels, record = shown(
        analysis="temperature_table",
        seed=3,
        temperatures=temperatures,
        num_images=4,
        re_estimation_draws=2,
    )

    def grid(decoder: Decoder, temperature: float) -> np.ndarray:
        images = drawn_by(decoder, 4, temperature=temperature)
        for axis in (2, 3):
            images = images.repeat_interleave(MAGNIFICATION, axis)
        return arrange_grid(images)

    for row, temperature in zip(rows, temperatures, strict=True):
        estimated = sampler.re_estimated(sampler.key(temperature, 2))
        assert not np.array_equal(row[0], row[1])
        assert np.array_equal(row[0], grid(sampler.running(), temperature))
        assert np.array_equal(row[1], grid(estimated, temperature))
    assert labels["row_labels"] == ["temperature 1", "temperature 0.5"]
    assert labels["column_labels"] == ["running", "re-estimated by 2 draws"]
    assert labels["magnification"] == 1
    assert [row["temperature"] for row in record["rows"]] == temperatures


def test_rows_of_a_traversal_hold_more_and_more_groups(shown, sampler) -> None:
    rows, labels, _ = shown(analysis="scale_traversal", seed=3, temperature=0.5, num_samples=3)
    for row, num_groups in zip(rows, (0, 1, 3), strict=True):
        expected = drawn_by(sampler.running(), 3, temperature=0.5, num_shared_groups=num_groups)
        assert np.array_equal(row, as_bytes(expected))
    assert labels["row_labels"] == ["none", "top 1", "all"]


def test_images_stand_above_their_reconstructions(shown, sampler, held_out) -> None:
    rows, labels, record = shown(analysis="reconstructions", seed=3, images=[4, 2])
    x = to_repeatable_input(held_out.images, [4, 2], sampler.model.config, 3)
    zeros = [torch.zeros(shape) for shape in sampler.model.noise_shapes(2)]
    made = as_bytes(reconstruct(sampler.model, x, zeros).images)
    assert np.array_equal(rows[0], as_bytes(x[:, :, 2:-2, 2:-2]))
    assert np.array_equal(rows[1], made)
    assert labels["row_labels"] == ["image", "posterior mean"]
    assert labels["column_labels"] == ["4", "2"]
    errors = np.sqrt(((rows[0] / 255 - rows[1] / 255) ** 2).mean(axis=(1, 2, 3)))
    assert record["root_mean_squared_errors"] == pytest.approx(errors.tolist())


def test_way_leads_from_the_first_image_to_the_second(shown, sampler, held_out) -> None:
    [row], labels, record = shown(analysis="interpolation", seed=3, images=[4, 2], num_steps=3)
    x = to_repeatable_input(held_out.images, [4, 2], sampler.model.config, 3)
    way = as_bytes(interpolate(sampler.model, x, torch.tensor([0, 0.5, 1])))
    ends = as_bytes(x[:, :, 2:-2, 2:-2])
    assert not np.array_equal(way[0], way[2])
    assert np.array_equal(row, np.concatenate([ends[:1], way, ends[1:]]))
    assert labels["column_labels"] == ["image 4", "0", "0.5", "1", "image 2"]
    assert record["shares"] == [0, 0.5, 1]
    between = np.sqrt((np.diff(row / 255, axis=0) ** 2).mean(axis=(1, 2, 3))).tolist()
    assert record["distances_to_next"] == pytest.approx(between[1:3])
    assert record["root_mean_squared_errors_of_ends"] == pytest.approx([between[0], between[3]])


@pytest.mark.parametrize("fields", [{"seed": 1}, {"temperature": 0.5}])
@pytest.mark.parametrize("analysis", ["nearest_images", "scale_traversal"])
def test_numbers_depend_on_seed_and_temperature(shown, analysis: str, fields) -> None:
    def numbers(**fields: object) -> dict[str, Any]:
        record = shown(analysis=analysis, num_samples=3, **fields)[2]
        return {name: record[name] for name in ("rows", "distances") if name in record}

    assert numbers() == numbers() != numbers(**fields)


@pytest.mark.parametrize(
    ("analysis", "fields"),
    [
        ("temperature_table", {"num_images": 3, "re_estimation_draws": 2, "temperatures": [0.5]}),
        ("reconstructions", {"images": [1, 2]}),
        ("interpolation", {"images": [1, 2]}),
    ],
)
def test_numbers_depend_on_the_seed(shown, analysis: str, fields) -> None:
    # Of images of the split it decides how they are binarized.
    first, second = [shown(analysis=analysis, seed=seed, **fields)[2] for seed in (0, 1)]
    assert first.pop("inputs") != second.pop("inputs")
    assert first != second


@pytest.mark.parametrize("analysis", ["nearest_images", "reconstructions", "interpolation"])
@pytest.mark.parametrize("known", ["this", "another", None])
def test_record_says_which_data_set_and_whether_it_was_trained_on(
    run_analysis, tmp_path: Path, train_config: TrainConfig, analysis: str, known: str | None
) -> None:
    content_hash = read_manifest(Path(train_config.dataset)).content_hash
    hashes = {"this": content_hash, "another": "0" * 64}
    trained_on = known and TrainedOn(world_size=1, global_batch_size=8, dataset_hash=hashes[known])
    checkpoint = save_untrained(tmp_path / "known", train_config, trained_on=trained_on)
    wanted = {} if analysis == "nearest_images" else {"images": [0, 1]}
    _, run = run_analysis(analysis=analysis, checkpoint=str(checkpoint), **wanted)
    record = json.loads(artifacts(run)[f"{analysis}.json"])
    assert record["dataset"] == {"content_hash": content_hash}
    assert record["trained_on_this_dataset"] is {"this": True, "another": False, None: None}[known]


@pytest.mark.parametrize(
    ("known", "name"), [(True, "10 test images, not trained on"), (False, "10 test images")]
)
def test_legend_says_not_trained_on_only_of_what_was_not(
    run_analysis, tmp_path: Path, train_config: TrainConfig, monkeypatch, known, name
) -> None:
    names = []

    def record(*_: object, **fields: Any) -> bytes:
        names.append(fields["names"])
        return b""

    monkeypatch.setattr("nvae_core.analysis.experiments.neighbours.draw_histogram", record)
    content_hash = read_manifest(Path(train_config.dataset)).content_hash
    trained_on = TrainedOn(
        world_size=1, global_batch_size=8, dataset_hash=content_hash if known else "0" * 64
    )
    checkpoint = save_untrained(tmp_path / "known", train_config, trained_on=trained_on)
    run_analysis(analysis="nearest_images", checkpoint=str(checkpoint), num_samples=2)
    assert names == [(name, "samples")]
