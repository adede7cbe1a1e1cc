"""The nearest images: an exact search, with known answers."""

import json
import math

import numpy as np
import pytest
from analyses import artifacts, random_images

from nvae_core.analysis.experiments import neighbours
from nvae_core.analysis.experiments.neighbours import (
    choose_evenly,
    coarse_centres,
    compare_with_held_out,
    find_nearest,
)
from nvae_core.config import ModelConfig
from nvae_core.data.preprocess import seen_levels
from nvae_core.sampling.draw import SamplingStopped


def test_planted_copies_are_found_at_distance_zero_across_blocks(monkeypatch) -> None:
    images = random_images(50)
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 7 * images[0].nbytes)
    found = find_nearest(images[[3, 48]], images, 1)
    assert found.indices.tolist() == [[3], [48]]
    assert found.distances.max() == 0


def test_all_neighbours_are_those_of_a_search_without_blocks(monkeypatch) -> None:
    images, queries = random_images(50), random_images(4, seed=1)
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 7 * images[0].nbytes)
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
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 7 * images[0].nbytes)
    answers = iter([False, False, True])
    with pytest.raises(SamplingStopped):
        find_nearest(images[:1], images, 1, should_stop=lambda: next(answers))
    assert next(answers, None) is None
